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

  ## Options

  A keyword list or a map:

    * `:listeners`, a list of what `t:AcceptQueue.listener/0` may be. Without it, or empty, this child watches nothing itself, and
      logs at its start what the application watches without it
    * `:id`, for the second watcher in a supervision tree; by default this module
    * all others are those of `AcceptQueue.watch/2`, for each of the listeners: see `t:AcceptQueue.watch_option/0`

  A listener that is not there yet, or is closed, is searched for once a second; so are all of them while `:accept_queue` does not
  run, and when it has restarted. The watcher's start waits for that for 200 ms at most, and never fails because of it. It fails for an
  option that is none, and for what is no listener, with a sentence.
  """

  @typedoc "See the module's options."
  @type options :: keyword() | map()

  @doc """
  Starts a watcher that is linked to the caller.

      iex> {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
      iex> {:ok, watcher} = AcceptQueue.Watcher.start_link(listeners: [listener], stuck_ms: 2000)
      iex> GenServer.stop(watcher)
      :ok
  """
  @spec start_link(options()) :: GenServer.on_start()
  def start_link(options) do
    {listeners, options} = options |> Map.new() |> Map.delete(:id) |> Map.pop(:listeners, [])
    if listeners == [], do: :logger.notice(watches_nothing(), %{application: :accept_queue})
    :accept_queue_watcher.start_link(listeners, options)
  end

  defp watches_nothing do
    case Application.get_env(:accept_queue, :watch, :all) do
      :all -> ~c"AcceptQueue.Watcher has no :listeners; the application watches all of this VM without it"
      :none -> ~c"AcceptQueue.Watcher has no :listeners, and the configuration says watch: :none: nothing is watched"
      some -> :io_lib.format(~c"AcceptQueue.Watcher has no :listeners; the configuration watches ~0tp", [some])
    end
  end

  @doc """
  The child specification, with `:id` from the options or this module.

      iex> AcceptQueue.Watcher.child_spec(%{id: :shop, listeners: [{:port, 4000}]}).id
      :shop
      iex> AcceptQueue.Watcher.child_spec([]).start
      {AcceptQueue.Watcher, :start_link, [[]]}
  """
  @spec child_spec(options()) :: Supervisor.child_spec()
  def child_spec(options) do
    %{id: Access.get(options, :id, __MODULE__), start: {__MODULE__, :start_link, [options]}}
  end
end
