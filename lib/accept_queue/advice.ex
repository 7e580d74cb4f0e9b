defmodule AcceptQueue.Advice do
  @moduledoc """
  An element of `AcceptQueue.advice/0`: something that is set wrongly, before anything breaks.

    * `id`: the rule
    * `severity`: `:info` may be meant so; with `:warning`, clients will be lost under load; with `:error`, what is in force
      is not at all what was asked for
    * `listener`: whose setting it is
    * `text`: for a person: what, which figure says so, what to set instead
    * `evidence`: the figures that the rule used
  """

  @enforce_keys [:id, :severity, :listener, :text, :evidence]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          id: atom(),
          severity: :info | :warning | :error,
          listener: term(),
          text: String.t(),
          evidence: map()
        }
end
