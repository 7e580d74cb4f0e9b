defmodule Consumer.MixProject do
  use Mix.Project

  def project do
    [
      app: :consumer,
      version: "0.1.0",
      # Only test/packaging knows where the clone is.
      deps: [{:accept_queue, path: System.fetch_env!("ACCEPT_QUEUE")}],
      releases: [consumer: [include_erts: false]]
    ]
  end
end
