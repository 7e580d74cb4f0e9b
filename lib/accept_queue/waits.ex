defmodule AcceptQueue.Waits do
  @moduledoc """
  What `AcceptQueue.waits/1` answers: how long the connections had waited that were passed to `AcceptQueue.accepted/2`.

    * `count`: how many there were
    * `sum_ms`, `max_ms`: all of their waits together, and the longest
    * `p50_ms`, `p99_ms`: so many of a hundred waited no longer than this: the upper end of a bucket, or `max_ms` where that
      is less
    * `buckets`: `{up_to_ms, count}`, how many waited up to so long and longer than the bucket before; the last one is
      `{:infinity, count}`

  `max_ms`, `p50_ms` and `p99_ms` are `nil` where `count` is 0.
  """

  @enforce_keys [:count, :sum_ms, :max_ms, :p50_ms, :p99_ms, :buckets]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          count: non_neg_integer(),
          sum_ms: non_neg_integer(),
          max_ms: non_neg_integer() | nil,
          p50_ms: non_neg_integer() | nil,
          p99_ms: non_neg_integer() | nil,
          buckets: [{pos_integer() | :infinity, non_neg_integer()}]
        }
end
