defmodule BcGitops.ApiTest do
  # What an Elixir caller sees: atoms, binaries and maps.
  use ExUnit.Case

  test "the native library loads and has the ABI of this code" do
    assert :bc_gitops_native.check() == :ok
  end

  test "the application file comes from app.src" do
    {:ok, [{:application, :bc_gitops, source}]} = :file.consult("erlang/bc_gitops.app.src")
    :ok = Application.ensure_loaded(:bc_gitops)
    assert Application.spec(:bc_gitops, :vsn) == source[:vsn]
    assert Application.spec(:bc_gitops, :mod) == source[:mod]
    assert Enum.all?(source[:applications], &(&1 in Application.spec(:bc_gitops, :applications)))
    for {key, value} <- source[:env], do: assert(Application.get_env(:bc_gitops, key) == value)
  end
end
