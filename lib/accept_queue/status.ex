defmodule AcceptQueue.Status do
  @moduledoc """
  What `AcceptQueue.status/1` answers, from memory.

    * `conditions`: which stand now
    * `depth`, `counts`: the last readings; `nil` where there was none
    * `counts_age_ms`: how old `counts` is
    * `census_every_ms`: how often they are taken, less often than configured where that costs much
    * `window`: `%{min: _, max: _, mean: _, peak_at: _}` of the depth over the last minute
    * `since`: when the watch began; like `peak_at` a system time in milliseconds
    * `stale`: nothing has been read for several intervals
    * `waits`: as `AcceptQueue.waits/1`
  """

  @enforce_keys [:conditions, :depth, :counts, :counts_age_ms, :census_every_ms, :window, :since, :stale, :waits]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          conditions: [AcceptQueue.condition()],
          depth: AcceptQueue.Depth.t() | nil,
          counts: AcceptQueue.Counts.t() | nil,
          counts_age_ms: non_neg_integer() | nil,
          census_every_ms: pos_integer(),
          window: map() | nil,
          since: integer(),
          stale: boolean(),
          waits: AcceptQueue.Waits.t()
        }
end
