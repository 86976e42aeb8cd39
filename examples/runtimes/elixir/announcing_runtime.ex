defmodule AnnouncingRuntime do
  @moduledoc """
  A runtime of one's own, in Elixir: what the default runtime does, and a line in the log.

      config :bc_gitops, runtime_module: AnnouncingRuntime

  The specification comes as the Erlang record `app_spec`; `Record.extract/2` gives it names.
  """

  @behaviour :bc_gitops_runtime

  require Logger
  require Record

  Record.defrecordp(
    :app_spec,
    Record.extract(:app_spec, from_lib: "bc_gitops/include/bc_gitops.hrl")
  )

  @impl true
  def deploy(spec) do
    result = :bc_gitops_runtime_default.deploy(spec)
    announce(result, "#{app_spec(spec, :name)} arrives: #{app_spec(spec, :version)}")
  end

  @impl true
  def remove(name), do: announce(:bc_gitops_runtime_default.remove(name), "#{name} leaves")

  @impl true
  def upgrade(spec, old_version) do
    result = :bc_gitops_runtime_default.upgrade(spec, old_version)
    new_version = app_spec(spec, :version)
    announce(result, "#{app_spec(spec, :name)} goes from #{old_version} to #{new_version}")
  end

  @impl true
  def reconfigure(spec) do
    result = :bc_gitops_runtime_default.reconfigure(spec)
    announce(result, "#{app_spec(spec, :name)} gets a new environment")
  end

  # The next two are optional: with them applications are built side by side, and what ran is
  # there again after a restart of the node, also when the repository does not answer.
  @impl true
  defdelegate prepare(spec), to: :bc_gitops_runtime_default

  @impl true
  def restore(spec, key) do
    result = :bc_gitops_runtime_default.restore(spec, key)
    announce(result, "#{app_spec(spec, :name)} is back: #{app_spec(spec, :version)}")
  end

  # The result goes back as it came: bc_gitops judges by it.
  defp announce({:error, reason} = result, what) do
    Logger.warning("#{what}: failed: #{inspect(reason)}")
    result
  end

  defp announce(result, what) do
    Logger.notice(what)
    result
  end
end
