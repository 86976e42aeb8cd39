defmodule Greeter.Application do
  @moduledoc "Starts the server under a supervisor."
  use Application

  @impl true
  def start(_type, _args) do
    Supervisor.start_link([Greeter.Server], strategy: :one_for_one, name: Greeter.Supervisor)
  end
end
