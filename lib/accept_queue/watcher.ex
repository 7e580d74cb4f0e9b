defmodule AcceptQueue.Watcher do
  @moduledoc """
  Watches the listeners that it is given, for as long as it lives: a child for your supervision tree.

      children = [
        MyApp.Endpoint,
        {AcceptQueue.Watcher, listeners: [{:port, 4000}], stuck_ms: 2000}
      ]

  The application watches every listener of the VM without it. Use it to give some listeners options of their own, or to watch
  nothing else:

      # config/config.exs
      config :accept_queue, watch: :none

  `:listeners` is a list of what `t:AcceptQueue.listener/0` may be; the other options are those of `AcceptQueue.watch/2`. A
  listener that is not there yet, or is closed, is searched for once a second; so are all of them while `:accept_queue` does not
  run, and when it has restarted. The watcher's start waits for that for 200 ms at most, and never fails because of it.
  """

  @doc "The child specification of `:accept_queue_watcher`, with `:id` from the options or this module."
  @spec child_spec(keyword()) :: Supervisor.child_spec()
  def child_spec(options) do
    {id, options} = Keyword.pop(options, :id, __MODULE__)
    {listeners, options} = Keyword.pop(options, :listeners, [])
    %{id: id, start: {:accept_queue_watcher, :start_link, [listeners, Map.new(options)]}}
  end
end
