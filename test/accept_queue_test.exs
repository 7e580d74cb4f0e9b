defmodule AcceptQueueTest do
  use ExUnit.Case, async: true
  import ExUnit.CaptureIO
  import ExUnit.CaptureLog

  test "every module, function and type is documented, and each of AcceptQueue's functions has an example" do
    undocumented =
      for module <- Application.spec(:accept_queue, :modules),
          match?("Elixir." <> _, Atom.to_string(module)),
          {:docs_v1, _, :elixir, _, module_doc, _, docs} = Code.fetch_docs(module),
          {name, doc} <- [
            {module, module_doc}
            | for({{kind, name, arity}, _, _, doc, _} <- docs, do: {{module, kind, name, arity}, doc})
          ],
          # What every struct and child has.
          not match?({_, :function, name, _} when name in [:__struct__, :child_spec], name),
          not match?({_, :type, :t, 0}, name),
          not is_map(doc),
          do: name

    assert undocumented == []

    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(AcceptQueue)

    assert [] ==
             for({{:function, name, arity}, _, _, %{"en" => doc}, _} <- docs, not (doc =~ "iex>"), do: {name, arity})
  end

  # As far as it can be asked without ExDoc.
  test "each page of the documentation is there, and each public module is in a group" do
    docs = Mix.Project.config()[:docs]
    assert [] == Enum.reject(docs[:extras], &File.regular?/1)

    for {_group, pages} <- docs[:groups_for_extras] do
      assert pages != []
      assert [] == pages -- docs[:extras]
    end

    for module <- Application.spec(:accept_queue, :modules),
        "Elixir." <> name <- [Atom.to_string(module)],
        {:docs_v1, _, :elixir, _, %{}, _, _} <- [Code.fetch_docs(module)] do
      assert Enum.any?(docs[:groups_for_modules], fn
               {_group, %Regex{} = pattern} -> name =~ pattern
               {_group, modules} -> module in modules
             end),
             name
    end
  end

  doctest AcceptQueue
  doctest AcceptQueue.Watcher
  doctest AcceptQueue.Events

  alias AcceptQueue.{
    Accepted,
    Acceptors,
    Advice,
    Busy,
    Counts,
    Depth,
    Holder,
    KernelLimits,
    Listener,
    Resized,
    Status,
    Waits
  }

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

      rows =
        for row <- rows, do: Map.new(row, fn {key, value} -> {key, if(value == :undefined, do: nil, else: value)} end)

      assert Map.from_struct(row) in rows
      assert fields(row) == fields(Listener.__struct__())
    end

    test "status/1 is the Erlang status as a struct", %{listener: listener} do
      :ok = AcceptQueue.watch(listener)
      assert {:ok, %Status{conditions: [], depth: %Depth{queued: 2, limit: 30}} = status} = AcceptQueue.status(listener)
      assert fields(status) == fields(Status.__struct__())
      assert AcceptQueue.cluster(:health)[node()] == AcceptQueue.health()
    end

    test "a child of a supervision tree watches for as long as it lives", %{listener: listener} do
      {:ok, address} = :inet.sockname(listener)
      :ok = AcceptQueue.unwatch(listener)
      child = {AcceptQueue.Watcher, listeners: [listener], stuck_ms: 2000}
      start_supervised!(child)
      # Its start waits for the first search for 200 ms at most.
      :ok = wait_until(fn -> address in AcceptQueue.watched() end, System.monotonic_time(:millisecond) + 20_000)
      :ok = stop_supervised(AcceptQueue.Watcher)
      refute address in AcceptQueue.watched()
      assert {:error, {sentence, _}} = start_supervised({AcceptQueue.Watcher, listeners: [], stuck_ms: :soon})
      assert to_string(sentence) =~ "stuck_ms is soon; allowed is an integer from 1 to 3600000"
    end

    test "accepted/2 and waits/1 are the Erlang answers as structs", %{listener: listener} do
      {:ok, connection} = :gen_tcp.accept(listener)

      assert {:ok, %Accepted{peer_closed: false, wait_ms: wait_ms} = accepted} =
               AcceptQueue.accepted(listener, connection)

      assert fields(accepted) == fields(Accepted.__struct__())
      assert {:ok, %Waits{count: 1, max_ms: ^wait_ms} = waits} = AcceptQueue.waits(listener)
      assert {:ok, Map.from_struct(waits)} == :accept_queue.waits(listener)
      assert fields(waits) == fields(Waits.__struct__())
    end

    test "resize/2 is the Erlang answer as a struct", %{listener: listener} do
      assert {:ok, %Resized{requested: 20, limit: 20} = resized} = AcceptQueue.resize(listener, 20)
      assert {:ok, Map.from_struct(resized)} == :accept_queue.resize(listener, 20)
      assert fields(resized) == fields(Resized.__struct__())
    end

    test "holders/1 has the Erlang rows as structs", %{listener: listener} do
      {:ok, _alive} = :gen_tcp.accept(listener)
      {:ok, gone} = :gen_tcp.accept(listener)
      {:ok, [row]} = :accept_queue.holders(listener)

      assert {:ok, [%Holder{socket: ^gone} = holder]} = AcceptQueue.holders(listener)
      assert {:ok, [%Holder{socket: ^gone}]} = AcceptQueue.holders(listener, %{limit: 1})
      assert holder.pid == self()
      assert fields(holder) == fields(Holder.__struct__())
      assert fields(Map.from_struct(holder)) == fields(row)
    end

    test "cluster/1 has the structs of what was asked for, for each node", %{listener: listener, port: port} do
      assert %{nonode@nohost: {:ok, %Depth{queued: 2}}} = AcceptQueue.cluster({:depth, [listener]})
      assert %{nonode@nohost: {:ok, %Counts{queued: 2}}} = AcceptQueue.cluster({:counts, [{:port, port}]}, 5000)
      assert %{nonode@nohost: {:ok, %KernelLimits{}}} = AcceptQueue.cluster(:kernel)
      assert %{nonode@nohost: {:ok, listeners}} = AcceptQueue.cluster(:list)
      assert %Listener{queued: 2} = Enum.find(listeners, &(&1.socket == listener))
    end

    test "i/0 prints the listener's address and answers :ok", %{port: port} do
      printed = capture_io(fn -> assert :ok = AcceptQueue.i() end)
      assert printed =~ "127.0.0.1:#{port} "
    end
  end

  test "cluster/2 says of a node that has not answered in time that it has not" do
    assert AcceptQueue.cluster(:list, 0) == %{nonode@nohost: {:error, :timeout}}

    assert_raise ArgumentError, ~r/1st argument: no reading of accept_queue; allowed is/, fn ->
      AcceptQueue.cluster(:halt, 0)
    end
  end

  test "acceptors/1 is the Erlang answer as a struct, with one for each busy process" do
    {:ok, listener} = :gen_tcp.listen(0, ip: @localhost)
    {:ok, port} = :inet.port(listener)
    test = self()

    acceptor =
      spawn_link(fn ->
        {:ok, _connection} = :gen_tcp.accept(listener)
        send(test, :accepted)
        Process.sleep(:infinity)
      end)

    waiting? = fn -> match?({:ok, %Acceptors{waiting: [^acceptor], busy: []}}, AcceptQueue.acceptors(listener)) end
    :ok = wait_until(waiting?, System.monotonic_time(:millisecond) + 5000)
    {:ok, _client} = :gen_tcp.connect(@localhost, port, [])
    assert_receive :accepted, 5000

    assert {:ok, %Acceptors{pool: [^acceptor], busy: [%Busy{pid: ^acceptor} = busy]} = acceptors} =
             AcceptQueue.acceptors(listener)

    assert fields(acceptors) == fields(Acceptors.__struct__())
    assert fields(busy) == fields(Busy.__struct__())
  end

  test "advice/0,1 have the Erlang pieces as structs" do
    {:ok, listener} = :gen_tcp.listen(0, ip: @localhost)
    {:ok, pieces} = :accept_queue.advice(listener)
    assert {:ok, [%Advice{} = advice | _]} = AcceptQueue.advice(listener)
    assert Map.from_struct(advice) in pieces
    assert fields(advice) == fields(Advice.__struct__())
    assert {:ok, everywhere} = AcceptQueue.advice()
    assert Enum.all?(everywhere, &is_struct(&1, Advice))
  end

  test "a Unix listener has its path for an address, and nil for what the kernel does not count of it" do
    path = Path.join(System.tmp_dir!(), "accept_queue_test_#{System.pid()}.sock")
    {:ok, listener} = :gen_tcp.listen(0, ifaddr: {:local, path})
    on_exit(fn -> File.rm!(path) end)

    assert {:ok, %Counts{queued: 0, syn_recv: nil, queued_bytes: nil}} = AcceptQueue.counts(listener)
    assert {:ok, %Depth{queued: 0, drops: nil}} = AcceptQueue.depth({:local, path})
    assert {:ok, listeners} = AcceptQueue.list()
    assert [%Listener{socket: ^listener}] = Enum.filter(listeners, &(&1.address == {:local, path}))
  end

  test "what is absent is nil, wherever Erlang has undefined" do
    {:ok, listener} = :gen_tcp.listen(0, ip: @localhost)
    :ok = AcceptQueue.watch(listener)

    answers = [
      AcceptQueue.counts(listener),
      AcceptQueue.depth(listener),
      AcceptQueue.acceptors(listener),
      AcceptQueue.waits(listener),
      AcceptQueue.status(listener),
      AcceptQueue.holders(listener),
      AcceptQueue.list(),
      AcceptQueue.kernel(),
      AcceptQueue.advice()
    ]

    assert [] == for({:ok, answer} <- answers, figure <- figures(answer), figure == :undefined, do: answer)
    assert {:ok, %Counts{oldest_wait_ms: nil}} = hd(answers)
    assert length(for {:ok, _} <- answers, do: :ok) == length(answers)
  end

  test "options may be a keyword list or a map, and one that is none is refused by name" do
    {:ok, listener} = :gen_tcp.listen(0, ip: @localhost)
    assert :ok = AcceptQueue.watch(listener, stuck_ms: 2000)
    assert :ok = AcceptQueue.watch(listener, %{stuck_ms: 2000})
    assert {:ok, []} = AcceptQueue.holders(listener, %{limit: 1})
    assert %{nonode@nohost: {:ok, []}} = AcceptQueue.cluster({:holders, [listener, [limit: 1]]})

    assert_raise ArgumentError, ~r/stuk_ms is no option; there are /, fn ->
      AcceptQueue.watch(listener, stuk_ms: 2000)
    end

    assert_raise ArgumentError, ~r/limt is no option; there is limit/, fn -> AcceptQueue.holders(listener, limt: 1) end
    assert_raise ArgumentError, ~r/2nd argument/, fn -> AcceptQueue.watch(listener, [:stuck_ms]) end
  end

  test "a watcher starts from a keyword list, from a map, and from nothing, and then says what is watched" do
    {:ok, listener} = :gen_tcp.listen(0, ip: @localhost)
    start_supervised!({AcceptQueue.Watcher, %{id: :by_map, listeners: [listener], stuck_ms: 2000}})
    said = capture_log(fn -> start_supervised!({AcceptQueue.Watcher, []}) end)
    assert said =~ "AcceptQueue.Watcher has no :listeners; the application watches all of this VM without it"
    start_supervised!({AcceptQueue.Watcher, %{id: :by_nothing}})
  end

  test "a watcher does not start for what is no listener, and says what is allowed" do
    {:ok, listener} = :gen_tcp.listen(0, ip: @localhost)

    for {wrong, sentence} <- [
          {{:port, 4000}, "listeners is {port,4000}; allowed is a list of listeners"},
          {nil, "listeners is nil; allowed is a list of listeners"},
          {[listener, 4000], "listeners names 4000; allowed is a listen socket"}
        ] do
      assert {:error, said} = AcceptQueue.Watcher.start_link(listeners: wrong)
      assert to_string(said) =~ sentence
    end
  end

  test "a watcher outlives a restart of the application, watches again, and never takes its supervisor down" do
    {:ok, listener} = :gen_tcp.listen(0, ip: @localhost)
    {:ok, address} = :inet.sockname(listener)
    # What is watched is watched by the watcher.
    wanted = Application.get_env(:accept_queue, :watch, :all)
    Application.put_env(:accept_queue, :watch, :none)
    :ok = Application.stop(:accept_queue)

    on_exit(fn ->
      Application.put_env(:accept_queue, :watch, wanted)
      _ = Application.stop(:accept_queue)
      :ok = Application.start(:accept_queue)
    end)

    children = [{AcceptQueue.Watcher, listeners: [listener, {:local, "/nowhere/at/all"}]}]
    {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one, max_restarts: 0)
    [{_, watcher, _, _}] = Supervisor.which_children(supervisor)

    for _restart <- 1..2 do
      :ok = Application.start(:accept_queue)
      watched? = fn -> address in AcceptQueue.watched() end
      assert :ok = wait_until(watched?, System.monotonic_time(:millisecond) + 60_000)
      :ok = Application.stop(:accept_queue)
      assert [{AcceptQueue.Watcher, ^watcher, :worker, _}] = Supervisor.which_children(supervisor)
    end

    :ok = Supervisor.stop(supervisor)
  end

  test "every event and error of Erlang is in AcceptQueue.Events" do
    {:docs_v1, _, _, _, %{"en" => documented}, _, _} = Code.fetch_docs(AcceptQueue.Events)
    erlang = File.read!("src/accept_queue_event.erl")

    events = Regex.scan(~r/`\[accept_queue, (\w+), (\w+)\]'/, erlang, capture: :all_but_first)
    assert length(events) > 5

    assert [] ==
             for([group, name] <- events, not (documented =~ "[:accept_queue, :#{group}, :#{name}]"), do: {group, name})

    assert documented =~ "[:accept_queue, :sample]"

    assert [] ==
             for(
               [:accept_queue, group, name] <- AcceptQueue.Events.telemetry(),
               ["#{group}", "#{name}"] not in events,
               do: name
             )

    [_, errors] = Regex.run(~r/-type reason\(\) ::(.*?)\./s, File.read!("src/accept_queue.erl"))
    names = Regex.scan(~r/\w+/, String.replace(errors, "{errno, atom()}", ""))
    assert length(names) > 5
    assert [] == for([name] <- names, not (documented =~ "`:#{name}`"), do: name)
  end

  test "every public function has a spec" do
    without =
      for module <- Application.spec(:accept_queue, :modules),
          match?("Elixir." <> _, Atom.to_string(module)),
          {:ok, specs} = Code.Typespec.fetch_specs(module),
          function <- module.__info__(:functions),
          not match?({:__struct__, _}, function),
          not List.keymember?(specs, function, 0),
          do: {module, function}

    assert without == []
  end

  describe "AcceptQueue.Telemetry.metrics/0" do
    test "names the library where it is not there" do
      refute Code.ensure_loaded?(Telemetry.Metrics)

      assert_raise RuntimeError,
                   ~r/add {:telemetry_metrics, "~> 1.0"} to the dependencies/,
                   &AcceptQueue.Telemetry.metrics/0
    end

    test "makes each metric by the library's own function, with tags that are binaries or atoms in the events" do
      # It stands in for the library, which is not there: it returns what it was asked for.
      Code.compile_string("""
      defmodule Telemetry.Metrics do
        for kind <- [:last_value, :counter, :summary] do
          def unquote(kind)(name, options), do: %{kind: unquote(kind), name: name, options: options}
        end
      end
      """)

      metrics = AcceptQueue.Telemetry.metrics()
      assert %{kind: :last_value, name: [:accept_queue, :sample, :queued]} = hd(metrics)
      events = AcceptQueue.Events.telemetry() ++ [[:accept_queue, :sample]]
      assert [] == for(%{name: name} <- metrics, Enum.drop(name, -1) not in events, do: name)
      tags = Enum.uniq(for %{options: options} <- metrics, tag <- options[:tags], do: tag)
      assert Enum.sort(tags) == [:condition, :listener, :name, :node, :reason]
    after
      :code.purge(Telemetry.Metrics)
      :code.delete(Telemetry.Metrics)
    end
  end

  test "kernel/0 has the Erlang limits as a struct" do
    {:ok, limits} = :accept_queue.kernel()
    assert {:ok, %KernelLimits{} = kernel} = AcceptQueue.kernel()
    assert Map.take(kernel, [:somaxconn, :tcp_syncookies]) == Map.take(limits, [:somaxconn, :tcp_syncookies])
    assert fields(kernel) == fields(KernelLimits.__struct__())
  end

  test "a wrong option raises with the sentence that names it, also for Exception.blame/3" do
    {:ok, listener} = :gen_tcp.listen(0, ip: @localhost)

    {exception, stack} =
      try do
        AcceptQueue.watch(listener, %{stuck_ms: :soon})
      rescue
        exception -> {exception, __STACKTRACE__}
      end

    assert Exception.message(exception) =~ "2nd argument: stuck_ms is soon; allowed is an integer from 1 to 3600000"
    assert {%ArgumentError{} = blamed, _} = Exception.blame(:error, :badarg, stack)
    assert Exception.message(blamed) == Exception.message(exception)
  end

  test "an error of Erlang comes through as it is" do
    {:ok, udp} = :gen_udp.open(0)

    for read <- [&AcceptQueue.open/1, &AcceptQueue.depth/1, &AcceptQueue.counts/1] do
      assert read.(udp) == {:error, :not_listening}
      assert_raise ArgumentError, ~r/1st argument: no listener; allowed is/, fn -> read.(:no_listener) end
    end
  end

  # Of structs and of the maps and lists in them.
  defp figures(%{__struct__: _} = struct), do: struct |> Map.from_struct() |> figures()
  defp figures(%{} = map), do: map |> Map.values() |> figures()
  defp figures(list) when is_list(list), do: Enum.flat_map(list, &figures/1)
  defp figures(figure), do: [figure]

  defp fields(map), do: map |> Map.keys() |> Enum.sort()

  defp listener_with_one_alive_and_one_gone(_context) do
    {:ok, listener} = :gen_tcp.listen(0, ip: @localhost, backlog: 30, active: false)
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
