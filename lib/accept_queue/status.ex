defmodule AcceptQueue.Status do
  @moduledoc """
  What `AcceptQueue.status/1` answers, from memory.

    * `conditions`: which stand now
    * `depth`, `counts`: the last readings; `:undefined` where there was none
    * `counts_age_ms`: how old `counts` is
    * `window`: `%{min: _, max: _, mean: _, peak_at: _}` of the depth over the last minute
    * `since`: when the watch began; like `peak_at` a system time in milliseconds
    * `stale`: nothing has been read for several intervals
    * `waits`: as `AcceptQueue.waits/1`
  """

  @enforce_keys [:conditions, :depth, :counts, :counts_age_ms, :window, :since, :stale, :waits]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          conditions: [:accept_queue.condition()],
          depth: AcceptQueue.Depth.t() | :undefined,
          counts: AcceptQueue.Counts.t() | :undefined,
          counts_age_ms: non_neg_integer() | :undefined,
          window: map() | :undefined,
          since: integer(),
          stale: boolean(),
          waits: AcceptQueue.Waits.t()
        }
end
