defmodule Shop.Alerts do
  @moduledoc "Gets a message when a condition is raised or cleared; put your pager here."
  use GenServer

  def start_link(_), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @impl true
  def init(nil) do
    :ok = AcceptQueue.subscribe()
    {:ok, nil}
  end

  @impl true
  def handle_info({:accept_queue, :raised, condition, %{queued: queued, limit: limit}}, state) do
    IO.puts("#{condition}: #{queued} of #{limit} wait")
    {:noreply, state}
  end

  def handle_info({:accept_queue, :cleared, condition, %{duration_ms: ms}}, state) do
    IO.puts("no longer #{condition}, after #{ms} ms")
    {:noreply, state}
  end

  def handle_info({:accept_queue, :listener, so, %{address: address}}, state) do
    IO.puts("listener #{inspect(address)} #{so}")
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}
end
