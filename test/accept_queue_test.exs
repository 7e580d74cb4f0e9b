defmodule AcceptQueueTest do
  use ExUnit.Case, async: true
  import ExUnit.CaptureIO

  doctest AcceptQueue

  alias AcceptQueue.{Counts, Depth, Listener}

  @localhost {127, 0, 0, 1}

  test "has every function of :accept_queue, and no other" do
    erlang = :accept_queue.module_info(:exports) -- [module_info: 0, module_info: 1]
    assert Enum.sort(AcceptQueue.__info__(:functions)) == Enum.sort(erlang)
  end

  describe "on a listener with one client that waits and one that has left" do
    setup :listener_with_one_alive_and_one_gone

    test "depth/1 is the Erlang depth as a struct", %{listener: listener} do
      assert {:ok, %Depth{queued: 2, limit: 30} = depth} = AcceptQueue.depth(listener)
      assert {:ok, Map.from_struct(depth)} == :accept_queue.depth(listener)
      assert fields(depth) == fields(Depth.__struct__())
    end

    test "depth/1 takes the handle of open/1", %{listener: listener} do
      assert {:ok, handle} = AcceptQueue.open(listener)
      assert {:ok, %Depth{queued: 2}} = AcceptQueue.depth(handle)
      assert {:ok, %Counts{queued: 2}} = AcceptQueue.counts(handle)
    end

    test "counts/1 is the Erlang counts as a struct", %{listener: listener} do
      {:ok, before} = :accept_queue.counts(listener)
      assert {:ok, %Counts{queued_alive: 1, queued_closed: 1} = counts} = AcceptQueue.counts(listener)
      {:ok, later} = :accept_queue.counts(listener)

      assert Map.delete(Map.from_struct(counts), :oldest_wait_ms) == Map.delete(before, :oldest_wait_ms)
      assert counts.oldest_wait_ms in before.oldest_wait_ms..later.oldest_wait_ms
      assert fields(counts) == fields(Counts.__struct__())
    end

    test "list/0 has the Erlang rows as structs", %{listener: listener} do
      {:ok, rows} = :accept_queue.list()
      {:ok, listeners} = AcceptQueue.list()

      assert [%Listener{queued: 2, limit: 30} = row] = Enum.filter(listeners, &(&1.socket == listener))
      assert Map.from_struct(row) in rows
      assert fields(row) == fields(Listener.__struct__())
    end

    test "i/0 prints the listener's address and answers :ok", %{port: port} do
      printed = capture_io(fn -> assert :ok = AcceptQueue.i() end)
      assert printed =~ "127.0.0.1:#{port} "
    end
  end

  test "what is absent is :undefined and not nil" do
    {:ok, listener} = :gen_tcp.listen(0, [])
    assert {:ok, %Counts{oldest_wait_ms: :undefined}} = AcceptQueue.counts(listener)
  end

  test "kernel/0 has the Erlang limits as a struct" do
    {:ok, limits} = :accept_queue.kernel()
    assert {:ok, %AcceptQueue.Kernel{} = kernel} = AcceptQueue.kernel()
    assert Map.take(kernel, [:somaxconn, :tcp_syncookies]) == Map.take(limits, [:somaxconn, :tcp_syncookies])
    assert fields(kernel) == fields(AcceptQueue.Kernel.__struct__())
  end

  test "an error of Erlang comes through as it is" do
    {:ok, udp} = :gen_udp.open(0)

    for read <- [&AcceptQueue.open/1, &AcceptQueue.depth/1, &AcceptQueue.counts/1] do
      assert read.(udp) == {:error, :not_listening}
      assert_raise ArgumentError, fn -> read.(:no_listener) end
    end
  end

  defp fields(map), do: map |> Map.keys() |> Enum.sort()

  defp listener_with_one_alive_and_one_gone(_context) do
    {:ok, listener} = :gen_tcp.listen(0, ip: @localhost, backlog: 30)
    {:ok, port} = :inet.port(listener)
    {:ok, _alive} = :gen_tcp.connect(@localhost, port, [])
    {:ok, gone} = :gen_tcp.connect(@localhost, port, [])
    :ok = :gen_tcp.close(gone)

    settled? = fn -> match?({:ok, %{queued: 2, queued_closed: 1}}, :accept_queue.counts(listener)) end
    :ok = wait_until(settled?, System.monotonic_time(:millisecond) + 5000)
    %{listener: listener, port: port}
  end

  defp wait_until(condition, deadline_ms) do
    cond do
      condition.() ->
        :ok

      System.monotonic_time(:millisecond) > deadline_ms ->
        :timeout

      true ->
        Process.sleep(5)
        wait_until(condition, deadline_ms)
    end
  end
end
