%%% @doc Code of a mix application that changes while it runs: a GenServer and a Supervisor.
-module(hot_elixir_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, processes_of_elixir/1]).

all() -> [processes_of_elixir].

%% An application as mix compiles one; the second version differs in a GenServer's state and in the
%% children of a Supervisor.
processes_of_elixir(Config) ->
    Elixir = elixir(),
    true = code:add_pathz(Elixir),
    Old = mix(?config(priv_dir, Config), "1", source("1", "n", "[{HotT.Counter, :hot_a}]", "")),
    Change = "def code_change(\"1\", {:v1, n, name}, _), do: {:ok, {:v2, n + 10, name}}",
    Children = "[Supervisor.child_spec({HotT.Counter, :hot_a}, []),\n"
               "Supervisor.child_spec({HotT.Counter, :hot_b}, id: :b)]",
    New = mix(?config(priv_dir, Config), "2", source("2", "n * 2", Children, Change)),
    ok = bct_hot:start(hot_t, Old, [{mod, {'Elixir.HotT.Sup', []}}]),
    Pids = [whereis(Name) || Name <- ['Elixir.HotT.Sup', hot_a]],
    [1, 2] = [gen_server:call(hot_a, bump) || _ <- [1, 2]],
    {ok, #{processes := 2}} = bct_hot:upgrade(hot_t, Old, New),
    ?assertEqual(Pids, [whereis(Name) || Name <- ['Elixir.HotT.Sup', hot_a]]),
    ?assertEqual([{v2, 12, hot_a}, {v2, 0, hot_b}],
                 [gen_server:call(Name, state) || Name <- [hot_a, hot_b]]),
    Bad = mix(?config(priv_dir, Config), "3",
                      source("3", "n", Children, "def code_change(_, _, _), do: raise(\"no\")")),
    ?assertMatch({undone, {code_change_failed, #{module := 'Elixir.HotT.Counter'}}},
                 bct_hot:upgrade(hot_t, New, Bad)),
    ?assertEqual([{v2, 12, hot_a}, {v2, 0, hot_b}],
                 [gen_server:call(Name, state) || Name <- [hot_a, hot_b]]),
    ok = bct_hot:stop(hot_t),
    ok = bct_hot:forget('Elixir.HotT'),
    true = code:del_path(Elixir).

source(Version, Shown, Children, Change) ->
    io_lib:format(
        "defmodule HotT.Sup do~n  use Application~n  use Supervisor~n"
        "  def start(_, _), do: Supervisor.start_link(__MODULE__, [], name: __MODULE__)~n"
        "  def init([]), do: Supervisor.init(~s, strategy: :one_for_one)~nend~n"
        "defmodule HotT.Counter do~n  use GenServer~n  @vsn \"~s\"~n"
        "  def start_link(name), do: GenServer.start_link(__MODULE__, name, name: name)~n"
        "  def init(name), do: {:ok, {:v~s, 0, name}}~n"
        "  def handle_call(:state, _, s), do: {:reply, s, s}~n"
        "  def handle_call(:bump, _, {v, n, name}), do: {:reply, n + 1, {v, n + 1, name}}~n"
        "  def shown({_, n, _}), do: ~s~n  ~s~nend~n",
        [Children, Version, Version, Shown, Change]).

%% The ebin directory of Elixir itself.
elixir() ->
    {0, Dir} = command("elixir", ["-e", "IO.write(:code.lib_dir(:elixir))"], []),
    filename:join(binary_to_list(Dir), "ebin").

%% Object code by module, of the application hot_t that mix compiles from a source text.
mix(Dir, Version, Source) ->
    Project = filename:join(Dir, "mix-" ++ Version),
    ok = filelib:ensure_path(filename:join(Project, "lib")),
    ok = file:write_file(filename:join(Project, "mix.exs"),
                         "defmodule HotT.MixProject do\n  use Mix.Project\n"
                         "  def project, do: [app: :hot_t, version: \"" ++ Version ++
                         ".0.0\"]\nend\n"),
    ok = file:write_file(filename:join([Project, "lib", "hot_t.ex"]), Source),
    Env = [{"MIX_ENV", "prod"}, {"HOME", Project}, {"LC_ALL", "C.UTF-8"}],
    case command("mix", ["compile"], [{cd, Project}, {env, Env}]) of
        {0, _} -> ok;
        {_, Output} -> error({mix_failed, Output})
    end,
    Ebin = filename:join([Project, "_build", "prod", "lib", "hot_t", "ebin"]),
    Beams = filelib:wildcard(filename:join(Ebin, "*.beam")),
    maps:from_list([begin
        {ok, Code} = file:read_file(File),
        {list_to_atom(filename:basename(File, ".beam")), {File, Code}}
    end || File <- Beams]).

command(Program, Args, Options) ->
    case os:find_executable(Program) of
        false -> error({Program, is_missing, "install the package elixir"});
        Path -> output(open_port({spawn_executable, Path}, [binary, exit_status, stderr_to_stdout,
                                                            {args, Args} | Options]), <<>>)
    end.

output(Port, Output) ->
    receive
        {Port, {data, Data}} -> output(Port, <<Output/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Status, Output}
    end.
