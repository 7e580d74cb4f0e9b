defmodule AcceptQueue.MixProject do
  use Mix.Project

  # Version, entry point and words are rebar3's: one file says them for both builds.
  {:ok, [{:application, :accept_queue, app_src}]} = :file.consult(Path.join(__DIR__, "src/accept_queue.app.src"))
  @app_src app_src

  def project do
    [
      app: :accept_queue,
      version: List.to_string(@app_src[:vsn]),
      description: List.to_string(@app_src[:description]),
      elixir: "~> 1.14",
      build_path: "_build/mix",
      compilers: [:accept_queue_native | Mix.compilers()],
      package: package(),
      # What is no test of ExUnit's.
      test_ignore_filters: ["test/files_of_package.exs", ~r"^test/packaging_fixtures/"],
      # For ExDoc, which comes from Hex and is not needed for anything else.
      docs: docs()
    ]
  end

  def application do
    {optional, required} = Enum.split_with(@app_src[:applications], &(&1 in @app_src[:optional_applications]))
    # Of one that is not there Elixir 1.20 warns.
    there = Enum.filter(optional, &is_list(:code.lib_dir(&1)))

    [extra_applications: required ++ Enum.map(there, &{&1, :optional})] ++
      Keyword.take(@app_src, [:mod, :registered, :env])
  end

  # Each page in one group, as in the README's map: test/docs looks that none is missing.
  @groups [
    Start: ~w(docs/first-hour.md docs/install.md docs/faq.md docs/glossary.md),
    "How to":
      ~w(docs/runbook.md docs/watchdog.md docs/containers.md docs/prometheus.md docs/elixir.md docs/packaging.md),
    Reference: ~w(
      docs/configuration.md docs/program.md docs/top.md docs/record.md docs/figures.md docs/events.md docs/advice.md docs/errors.md
    ),
    Explanation: ~w(docs/rules.md docs/2009.md docs/security.md docs/comparison.md docs/reading.md),
    Proof: ~w(
      docs/proof/speed.md docs/proof/faults.md docs/proof/real-servers.md docs/proof/kernels.md docs/proof/musl.md
      docs/proof/hit-rates.md docs/proof/formats.md
    )
  ]

  defp docs do
    groups = Enum.map(@groups, fn {group, pages} -> {group, Enum.filter(pages, &File.exists?/1)} end)

    [
      main: "readme",
      extras: ~w(README.md CHANGELOG.md SECURITY.md) ++ Enum.flat_map(groups, fn {_group, pages} -> pages end),
      groups_for_extras: groups,
      groups_for_modules: [
        "Ask and watch": [AcceptQueue, AcceptQueue.Watcher],
        Events: [AcceptQueue.Events, AcceptQueue.Telemetry],
        Answers: ~r"^AcceptQueue\."
      ],
      assets: %{"docs/pictures" => "docs/pictures"}
    ]
  end

  defp package do
    [
      licenses: Enum.map(@app_src[:licenses], &List.to_string/1),
      links: Map.new(@app_src[:links], fn {name, url} -> {List.to_string(name), List.to_string(url)} end),
      # The two of test/ are members of the Cargo workspace, which does not build without them.
      files: ~w(
        src lib native test/panicking_nif test/hanging_nif Cargo.toml Cargo.lock rustfmt.toml rebar.config rebar.lock mix.exs
        .formatter.exs README.md CHANGELOG.md LICENSE
      ),
      exclude_patterns: [~r"^native/fuzz/corpus/"]
    ]
  end
end

defmodule Mix.Tasks.Compile.AcceptQueueNative do
  # Stands here and not in lib/, which is not compiled yet when it runs.
  @moduledoc false
  use Mix.Task.Compiler

  @impl true
  def run(_args) do
    case Mix.shell().cmd("sh native/build") do
      0 ->
        # Mix linked priv/ into the build before the compilers ran; in a fresh clone it did not exist then.
        Mix.Project.build_structure()
        # For a release that is upgraded while it runs.
        File.mkdir_p!(Mix.Project.compile_path())
        File.cp!("src/accept_queue.appup.src", Path.join(Mix.Project.compile_path(), "accept_queue.appup"))
        {:noop, []}

      _status ->
        {:error, []}
    end
  end
end
