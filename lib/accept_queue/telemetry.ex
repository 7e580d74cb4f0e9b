defmodule AcceptQueue.Telemetry do
  @moduledoc """
  A ready list of metrics of the events in `AcceptQueue.Events`, for reporters of `Telemetry.Metrics`: LiveDashboard, PromEx and
  other Prometheus reporters, StatsD.

      # lib/my_app_web/telemetry.ex
      def metrics, do: AcceptQueue.Telemetry.metrics() ++ [summary("phoenix.endpoint.stop.duration")]

  The tags are `:listener`, the address (`"0.0.0.0:4000"`), `:name`, whose it is (`"MyAppWeb.Endpoint.HTTP"`), and `:node`; of conditions
  also `:condition`, and of those that have ended `:reason`. Their number is bounded by your listeners.

  A figure that is absent is left out of an event, so a metric of it keeps its last value.
  """

  @listener [:listener, :name, :node]

  @doc """
  The metrics, built through the library `telemetry_metrics`. Raises where that is not among your dependencies.

  | metric | of what |
  |---|---|
  | `accept_queue.sample.queued`, `.limit`, `.drops` | last value, of each sample |
  | `accept_queue.sample.oldest_wait_ms`, `.queued_closed`, `.queued_reset`, `.established`, `.close_wait` | last value, of each sample with a census |
  | `accept_queue.sample.waits_p99_ms`, `.waits_max_ms` | last value, where connections are passed to `AcceptQueue.accepted/2` |
  | `accept_queue.condition.raised.count`, `accept_queue.condition.cleared.count` | how many |
  | `accept_queue.condition.cleared.duration_ms` | summary, milliseconds |
  | `accept_queue.read.failed.count` | how many |

      iex> Enum.map(AcceptQueue.Telemetry.metrics(), & &1.name) |> Enum.take(2)
      [[:accept_queue, :sample, :queued], [:accept_queue, :sample, :limit]]
  """
  @spec metrics() :: [struct()]
  def metrics do
    if not Code.ensure_loaded?(Telemetry.Metrics) do
      raise "AcceptQueue.Telemetry.metrics/0 needs the library telemetry_metrics: add {:telemetry_metrics, \"~> 1.0\"} to the dependencies in mix.exs"
    end

    samples(~w(queued limit drops)a, "of each sample") ++
      samples(~w(oldest_wait_ms queued_closed queued_reset established close_wait)a, "of each sample with a census") ++
      samples(~w(waits_p99_ms waits_max_ms)a, "of the connections passed to accepted/2") ++
      [
        metric(:counter, [:condition, :raised, :count], tags: [:condition | @listener], measurement: :held_ms),
        metric(:counter, [:condition, :cleared, :count],
          tags: [:condition, :reason | @listener],
          measurement: :duration_ms
        ),
        metric(:summary, [:condition, :cleared, :duration_ms], tags: [:condition | @listener], unit: :millisecond),
        metric(:counter, [:read, :failed, :count], tags: @listener)
      ]
  end

  defp samples(figures, description) do
    for figure <- figures, do: metric(:last_value, [:sample, figure], tags: @listener, description: description)
  end

  # By name: neither this library nor its tests need telemetry_metrics.
  defp metric(kind, name, options) do
    apply(Telemetry.Metrics, kind, [[:accept_queue | name], options])
  end
end
