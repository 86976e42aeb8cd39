defmodule Greeter do
  @moduledoc "Greets whoever has a name, by the word that the environment gives."

  @version Mix.Project.config()[:version]

  @doc "A greeting, written by the server: `hello(\"Ada\")` is `\"Hello, Ada!\"`."
  def hello(someone), do: GenServer.call(Greeter.Server, {:hello, someone}, 2_000)

  @doc "The version that this code was built as."
  def version, do: @version
end
