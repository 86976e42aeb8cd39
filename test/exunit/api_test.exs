defmodule BcGitops.ApiTest.Runtime do
  # What a user's runtime module is like in Elixir: the four callbacks, on the public records.
  @behaviour :bc_gitops_runtime
  require Record

  for record <- [:app_spec, :app_state] do
    fields = Record.extract(record, from: "include/bc_gitops.hrl")
    Record.defrecord(record, fields)
  end

  def deploy(spec) do
    send(:api_test, {:deploy, app_spec(spec, :name), app_spec(spec, :env)})

    {:ok,
     app_state(
       name: app_spec(spec, :name),
       version: app_spec(spec, :version),
       status: :running,
       env: app_spec(spec, :env)
     )}
  end

  def upgrade(spec, _old_version), do: deploy(spec)
  def reconfigure(spec), do: deploy(spec)

  def remove(name) do
    send(:api_test, {:remove, name})
    :ok
  end
end

defmodule BcGitops.ApiTest do
  # What an Elixir caller sees: atoms, binaries, maps, and the records of the public header.
  use ExUnit.Case
  require BcGitops.ApiTest.Runtime, as: Runtime

  setup do
    dir = Path.join(System.tmp_dir!(), "bc_gitops-api-#{System.unique_integer([:positive])}")
    File.mkdir_p!(dir)
    on_exit(fn -> File.rm_rf!(dir) end)
    {:ok, dir: dir}
  end

  test "the native library loads and has the ABI of this code" do
    assert :bc_gitops_native.check() == :ok
  end

  test "the application file comes from app.src" do
    {:ok, [{:application, :bc_gitops, source}]} = :file.consult("erlang/bc_gitops.app.src")
    assert Application.spec(:bc_gitops, :vsn) == source[:vsn]
    assert Application.spec(:bc_gitops, :mod) == source[:mod]
    assert Enum.sort(Application.spec(:bc_gitops, :registered)) == Enum.sort(source[:registered])
    assert Enum.all?(source[:applications], &(&1 in Application.spec(:bc_gitops, :applications)))
    for {key, value} <- source[:env], do: assert(Application.get_env(:bc_gitops, key) == value)
  end

  test "without a repository the application waits" do
    assert :bc_gitops.status() == {:error, :not_running}
  end

  test "strings of Elixir are taken, bad values named" do
    assert {:error, {:bad_config, [problem]}} =
             :bc_gitops.start_reconciler(%{
               repo_url: "https://example.org/x",
               reconcile_interval: "often"
             })

    assert %{key: :reconcile_interval, got: "often", expected: expected} = problem
    assert is_binary(expected)
  end

  test "a specification as a map" do
    assert {:ok, spec} = :bc_gitops_parser.parse_app_config(%{name: :tally, version: "1.0.0"})
    assert Runtime.app_spec(spec, :name) == :tally
    assert Runtime.app_spec(spec, :version) == "1.0.0"

    assert {:error, {:missing_field, :version}} =
             :bc_gitops_parser.parse_app_config(%{name: :tally})
  end

  test "a repository is followed with a runtime module written in Elixir", %{dir: dir} do
    Process.register(self(), :api_test)
    commit(dir, "apps/tally/app.yaml", "name: tally\nversion: \"1.0.0\"\nenv:\n  step: 2\n")

    {:ok, _} =
      :bc_gitops.start_reconciler(%{
        repo_url: "file://" <> dir,
        runtime_module: Runtime,
        reconcile_interval: :infinity
      })

    on_exit(fn -> :bc_gitops.stop_reconciler() end)
    assert :bc_gitops.reconcile() == :ok
    assert_received {:deploy, :tally, %{step: 2}}

    assert {:ok, %{status: :synced, app_count: 1, healthy_count: 1, last_commit: commit}} =
             :bc_gitops.status()

    assert {head, 0} = System.cmd("git", ["-C", dir, "rev-parse", "HEAD"])
    assert commit == String.trim(head)
    assert {:ok, state} = :bc_gitops.get_app_status(:tally)
    assert Runtime.app_state(state, :version) == "1.0.0"
    assert {:ok, %{tally: _}} = :bc_gitops.get_desired_state()
    assert {:ok, plan} = :bc_gitops.plan()
    assert is_map(plan)

    assert :ok = :bc_gitops.remove(:tally)
    assert_received {:remove, :tally}
  end

  defp commit(dir, file, text) do
    path = Path.join(dir, file)
    File.mkdir_p!(Path.dirname(path))
    File.write!(path, text)
    who = ["-c", "user.name=Tess Tester", "-c", "user.email=tess@example.org"]
    git(dir, ["init", "-q", "-b", "main"])
    git(dir, ["add", "-A"])
    git(dir, who ++ ["commit", "-q", "-m", "change"])
  end

  defp git(dir, args), do: {_, 0} = System.cmd("git", ["-C", dir | args], stderr_to_stdout: true)
end
