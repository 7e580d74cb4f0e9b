defmodule Shop.Application do
  @moduledoc "The tree: a listener, those who accept from it, and who watches them."
  use Application

  @impl true
  def start(_type, _arguments) do
    port = String.to_integer(System.get_env("SHOP_PORT", "8080"))

    {:ok, socket} =
      :gen_tcp.listen(port, [:binary, packet: :line, active: false, ip: {127, 0, 0, 1}, reuseaddr: true, backlog: 64])

    {:ok, port} = :inet.port(socket)
    acceptors = for n <- 1..2, do: Supervisor.child_spec({Shop.Acceptor, socket}, id: {Shop.Acceptor, n})

    children =
      [{Task.Supervisor, name: Shop.Customers}, Shop.Alerts] ++
        acceptors ++ [{AcceptQueue.Watcher, listeners: [socket], max_wait_ms: 50, for_ms: 500}]

    with {:ok, supervisor} <- Supervisor.start_link(children, strategy: :one_for_one, name: Shop.Supervisor) do
      IO.puts("the shop listens on 127.0.0.1:#{port}")
      {:ok, supervisor}
    end
  end
end
