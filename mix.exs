defmodule BcGitops.MixProject do
  use Mix.Project

  # Version, dependencies and environment have one source: erlang/bc_gitops.app.src.
  {:ok, [{:application, :bc_gitops, properties}]} =
    :file.consult(Path.join(__DIR__, "erlang/bc_gitops.app.src"))

  @properties properties

  def project do
    [
      app: :bc_gitops,
      version: to_string(@properties[:vsn]),
      description: to_string(@properties[:description]),
      language: :erlang,
      erlc_paths: ["erlang"],
      erlc_options: [:debug_info],
      build_path: "_build/mix",
      test_paths: ["test/exunit"],
      aliases: [test: "test --no-start"],
      compilers: [:bc_gitops_nif | Mix.compilers()],
      deps: []
    ]
  end

  def application do
    [
      mod: @properties[:mod],
      registered: @properties[:registered],
      extra_applications: @properties[:applications] -- [:kernel, :stdlib],
      env: @properties[:env]
    ]
  end
end

defmodule Mix.Tasks.Compile.BcGitopsNif do
  @moduledoc "Builds the native library with cargo before the Erlang code is compiled."
  use Mix.Task.Compiler

  @impl true
  def run(_args) do
    root = Path.dirname(Mix.Project.project_file())

    case System.cmd("sh", ["native/build.sh"], cd: root, into: IO.stream(), stderr_to_stdout: true) do
      {_, 0} -> {:ok, []}
      {_, _} -> {:error, []}
    end
  end
end
