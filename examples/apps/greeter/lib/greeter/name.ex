defprotocol Greeter.Name do
  @moduledoc "What a value is called when it is greeted."
  def of(value)
end

defimpl Greeter.Name, for: BitString do
  def of(name), do: name
end

defimpl Greeter.Name, for: Atom do
  def of(name), do: name |> Atom.to_string() |> String.capitalize()
end

defimpl Greeter.Name, for: Integer do
  def of(number), do: "number #{number}"
end
