# In one line: an Elixir application whose supervision tree has a listener, its acceptors and who watches them
#
#     examples/run elixir_shop          or, here, mix run --no-halt; SHOP_PORT=8080
#
# What it serves: `status` with what is known of its own queue, anything else backwards.
defmodule Shop.MixProject do
  use Mix.Project

  def project do
    [
      app: :shop,
      version: "0.1.0",
      elixir: "~> 1.14",
      # Beside all else that this repository builds.
      build_path: "../../_build/examples/elixir_shop",
      deps: [{:accept_queue, path: "../.."}]
    ]
  end

  def application do
    [mod: {Shop.Application, []}, extra_applications: [:logger]]
  end
end
