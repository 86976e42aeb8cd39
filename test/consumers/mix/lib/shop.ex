defmodule Shop.Application do
  use Application

  def start(_type, _args), do: Supervisor.start_link([Shop], strategy: :one_for_one)
end

defmodule Shop do
  # Prints what bc_gitops says of itself and of its apps, a line whenever it changes.
  use GenServer
  require Record

  header = "bc_gitops/include/bc_gitops.hrl"
  Record.defrecordp(:app_state, Record.extract(:app_state, from_lib: header))

  def start_link(_), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  def init([]) do
    IO.puts("shop: abi #{:bc_gitops_native.abi()}")
    send(self(), :look)
    {:ok, []}
  end

  def handle_info(:look, said) do
    lines = lines()
    Enum.each(lines -- said, &IO.puts/1)
    Process.send_after(self(), :look, 100)
    {:noreply, lines}
  end

  defp lines do
    case :bc_gitops.status() do
      {:ok, %{status: status, app_count: apps, healthy_count: healthy}} ->
        ["shop: #{status}, #{apps} apps, #{healthy} healthy" | Enum.flat_map(names(), &app/1)]

      {:error, :not_running} ->
        ["shop: not running"]
    end
  end

  # What git names; until it was read, what runs.
  defp names do
    {:ok, current} = :bc_gitops.get_current_state()

    case :bc_gitops.get_desired_state() do
      {:ok, desired} -> Map.keys(Map.merge(current, desired))
      {:error, _} -> Map.keys(current)
    end
  end

  defp app(name) do
    case :bc_gitops.get_app_status(name) do
      {:ok, state} ->
        app_state(version: version, status: status, details: details) = state
        ["shop: #{name} #{version} #{status}, error: #{inspect(details[:last_error])}"]

      {:error, :not_found} ->
        []
    end
  end
end
