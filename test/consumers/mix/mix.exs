defmodule Shop.MixProject do
  use Mix.Project

  # The words between @ are filled in by consumer_SUITE.
  def project do
    [
      app: :shop,
      version: "1.0.0",
      deps: [{:bc_gitops, git: "@BC_GITOPS@", branch: "main"}],
      releases: [shop: [include_executables_for: [:unix]]]
    ]
  end

  def application, do: [mod: {Shop.Application, []}]
end
