defmodule AcceptQueue.Acceptors do
  @moduledoc """
  What `AcceptQueue.acceptors/1` answers.

    * `waiting_count`: how many processes are blocked in accept now, exactly
    * `waiting`: those of them that were found
    * `pool`: the processes that should accept; `nil` where none has been found in accept, and no framework has
      them
    * `busy`: those of the pool that do something else, each an `AcceptQueue.Busy`
    * `busy_count`: how many there are; the list has at most 1000
  """

  @enforce_keys [:waiting_count, :waiting, :pool, :busy, :busy_count]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          waiting_count: non_neg_integer(),
          waiting: [pid()],
          pool: [pid()] | nil,
          busy: [AcceptQueue.Busy.t()],
          busy_count: non_neg_integer()
        }
end
