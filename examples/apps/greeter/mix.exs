defmodule Greeter.MixProject do
  use Mix.Project

  def project do
    [
      app: :greeter,
      version: "1.0.0",
      elixir: "~> 1.14",
      description: "Greets people, numbers and atoms",
      deps: []
    ]
  end

  def application do
    [mod: {Greeter.Application, []}, env: [greeting: "Hello"]]
  end
end
