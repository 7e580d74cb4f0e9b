defmodule AcceptQueue.Advice do
  @moduledoc """
  A piece of what `AcceptQueue.advice/0` answers: something that is set wrongly, before anything breaks.

    * `id`: the rule that speaks
    * `severity`: how bad it is
    * `listener`: whose setting it is
    * `text`: for a person: what, which figure says so, what to set instead
    * `evidence`: the figures that the rule went by
  """

  @enforce_keys [:id, :severity, :listener, :text, :evidence]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          id: atom(),
          severity: atom(),
          listener: term(),
          text: IO.chardata(),
          evidence: map()
        }
end
