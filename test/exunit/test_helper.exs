# The application is started by the tests, with directories of their own.
dir = Path.join(System.tmp_dir!(), "bc_gitops-exunit-#{System.pid()}")
File.mkdir_p!(dir)

for key <- [:local_path, :workspace_path, :state_path] do
  Application.put_env(:bc_gitops, key, Path.join(dir, to_string(key)), persistent: true)
end

{:ok, _} = Application.ensure_all_started(:bc_gitops)
System.at_exit(fn _ -> File.rm_rf!(dir) end)
ExUnit.start()
