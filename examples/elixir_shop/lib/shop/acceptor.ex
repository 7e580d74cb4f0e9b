defmodule Shop.Acceptor do
  @moduledoc "Accepts, and gives each connection to a process of its own."
  use Task, restart: :permanent

  def start_link(listener), do: Task.start_link(__MODULE__, :accept, [listener])

  def accept(listener) do
    {:ok, socket} = :gen_tcp.accept(listener)
    # To be read before anything is written: afterwards the kernel no longer has it.
    {:ok, waited_ms} = AcceptQueue.wait_ms(socket)

    {:ok, server} =
      Task.Supervisor.start_child(Shop.Customers, fn -> receive do: (:yours -> serve(socket, listener, waited_ms)) end)

    :ok = :gen_tcp.controlling_process(socket, server)
    send(server, :yours)
    accept(listener)
  end

  defp serve(socket, listener, waited_ms) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, "status" <> _} ->
        :ok = :gen_tcp.send(socket, "#{status(listener)}; you have waited for #{waited_ms} ms\n")
        serve(socket, listener, waited_ms)

      {:ok, line} ->
        :ok = :gen_tcp.send(socket, [line |> String.trim() |> String.reverse(), "\n"])
        serve(socket, listener, waited_ms)

      {:error, _} ->
        :gen_tcp.close(socket)
    end
  end

  defp status(listener) do
    case AcceptQueue.depth(listener) do
      {:ok, %AcceptQueue.Depth{queued: queued, limit: limit}} ->
        "#{queued} of #{limit} wait; health: #{inspect(AcceptQueue.health())}"

      {:error, reason} ->
        "not read: #{inspect(reason)}"
    end
  end
end
