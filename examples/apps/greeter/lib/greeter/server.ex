defmodule Greeter.Server do
  @moduledoc "Answers greetings, one at a time."
  use GenServer

  # tally is another application, deployed from a repository of its own.
  @compile {:no_warn_undefined, :tally}

  def start_link(_args), do: GenServer.start_link(__MODULE__, :ok, name: __MODULE__)

  # Without tally there is nothing to tell at the start: this is why the specification says
  # depends_on.
  @impl true
  def init(:ok), do: {:ok, %{tally_at_start: :tally.total()}}

  @impl true
  def handle_call({:hello, someone}, _from, state) do
    word = Application.get_env(:greeter, :greeting, "Hello")
    {:reply, "#{word}, #{Greeter.Name.of(someone)}!", state}
  end
end
