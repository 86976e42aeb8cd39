%%% @doc What users copy works: the examples, and what README and guides show.
-module(examples_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("bc_gitops/include/bc_gitops.hrl").

-export([all/0]).
-export([the_gitops_repository_parses/1, the_formats_in_the_readme_are_equal/1,
         the_formats_in_the_guide_are_equal/1, the_readme_lists_every_key/1, links_lead_somewhere/1,
         the_erlang_runtime_is_one/1, the_elixir_runtime_is_one/1, run_follows_only_what_it_was_given/1]).

-define(CALLBACKS, [{deploy, 1}, {reconfigure, 1}, {remove, 1}, {upgrade, 2}]).

all() ->
    [the_gitops_repository_parses, the_formats_in_the_readme_are_equal,
     the_formats_in_the_guide_are_equal, the_readme_lists_every_key, links_lead_somewhere,
     the_erlang_runtime_is_one, the_elixir_runtime_is_one, run_follows_only_what_it_was_given].

the_gitops_repository_parses(_Config) ->
    {ok, Specs} = bc_gitops_parser:parse_apps_dir(path("examples/gitops-repo/apps")),
    ?assertEqual(
        #{beacon => [], tally => [beacon], greeter => [tally], abacus => [], lantern => []},
        maps:map(fun(_, #app_spec{depends_on = Needs}) -> Needs end, Specs)
    ),
    [?assertEqual(<<"1.0.0">>, Version) || #app_spec{version = Version} <- maps:values(Specs)].

the_formats_in_the_readme_are_equal(Config) ->
    formats_are_equal(path("README.md"), ?config(priv_dir, Config)).

the_formats_in_the_guide_are_equal(Config) ->
    formats_are_equal(path("guides/specifications.md"), ?config(priv_dir, Config)).

formats_are_equal(File, Dir) ->
    Formats = [{"erlang", ".config", "#{\n"}, {"yaml", ".yaml", "name:"}, {"json", ".json", "{"}],
    Parsed = [parse(File, Dir, Format) || Format <- Formats],
    ?assertMatch([#app_spec{name = tally}, _, _], Parsed),
    ?assertMatch([_], lists:usort(Parsed)).

%% Every block of the language that begins as a specification does.
parse(File, Dir, {Language, Extension, Start}) ->
    Blocks = blocks(File, Language),
    [Text | _] = [Block || Block <- Blocks, string:prefix(Block, Start) =/= nomatch],
    Spec = filename:join(Dir, filename:basename(File) ++ Extension),
    ok = file:write_file(Spec, unicode:characters_to_binary(Text)),
    {ok, Parsed} = bc_gitops_parser:parse_app_config_file(Spec),
    Parsed.

blocks(File, Language) ->
    Found = re:run(text(File), "^```" ++ Language ++ "\n(.*?)^```", [
        multiline, dotall, global, unicode, {capture, all_but_first, list}
    ]),
    {match, Blocks} = Found,
    lists:append(Blocks).

the_readme_lists_every_key(_Config) ->
    [_, Section] = string:split(text(path("README.md")), "## Configuration"),
    [Table | _] = string:split(Section, "\n## "),
    Rows = [Row || Row <- string:split(Table, "\n", all), string:prefix(Row, "| `") =/= nomatch],
    Cells = [hd(string:split(string:prefix(Row, "| "), " | ")) || Row <- Rows],
    {match, Keys} = re:run(Cells, "`([a-z_]+)`", [global, {capture, all_but_first, list}]),
    ?assertEqual(lists:sort([atom_to_list(Key) || Key <- bc_gitops_config:keys()]),
                 lists:sort(lists:append(Keys))).

links_lead_somewhere(_Config) ->
    Files = filelib:wildcard(path("*.md")) ++ filelib:wildcard(path("{guides,examples}/**/*.md")),
    ?assertEqual([], [{File, Link} || File <- Files, Link <- links(File), not exists(File, Link)]).

links(File) ->
    Options = [global, unicode, {capture, all_but_first, list}],
    case re:run(text(File), "\\]\\(([^)]+)\\)", Options) of
        {match, Links} -> [Link || [Link] <- Links, re:run(Link, "^(https?:|#)") =:= nomatch];
        nomatch -> []
    end.

exists(File, Link) ->
    [Path | _] = string:split(Link, "#"),
    filelib:is_file(filename:join(filename:dirname(File), string:trim(Path))).

the_erlang_runtime_is_one(_Config) ->
    File = path("examples/runtimes/erlang/announcing_runtime.erl"),
    {ok, Module, Beam, []} = compile:file(File, [binary, return, warnings_as_errors]),
    {module, Module} = code:load_binary(Module, File, Beam),
    is_runtime(Module).

the_elixir_runtime_is_one(Config) ->
    Dir = ?config(priv_dir, Config),
    Libs = filename:dirname(code:lib_dir(bc_gitops)),
    Source = path("examples/runtimes/elixir/announcing_runtime.ex"),
    Port = open_port({spawn_executable, os:find_executable("elixirc")}, [
        binary, exit_status, stderr_to_stdout, {env, [{"ERL_LIBS", Libs}, {"LC_ALL", "C.UTF-8"}]},
        {args, ["--warnings-as-errors", "-o", Dir, Source]}
    ]),
    ?assertMatch({0, _}, finish(Port, <<>>)),
    {module, Module} = code:load_abs(filename:join(Dir, "Elixir.AnnouncingRuntime")),
    is_runtime(Module).

finish(Port, Output) ->
    receive
        {Port, {data, Data}} -> finish(Port, <<Output/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Status, Output}
    end.

is_runtime(Module) ->
    ?assertEqual([], ?CALLBACKS -- Module:module_info(exports)),
    Behaviours = proplists:get_value(behaviour, Module:module_info(attributes)),
    ?assertEqual([bc_gitops_runtime], Behaviours).

text(File) ->
    {ok, Text} = file:read_file(File),
    unicode:characters_to_list(Text).

%% RUN_CONFIG is the configuration of a node that follows another repository.
run_follows_only_what_it_was_given(Config) ->
    Dir = ?config(priv_dir, Config),
    Repo = bct_repo:init(filename:join(Dir, "gitops")),
    <<Commit:7/binary, _/binary>> = iolist_to_binary(bct_repo:commit(Repo, [{"apps/none/.keep", ""}])),
    Node = filename:join(Dir, "node"),
    ok = file:write_file(Node ++ ".config", "[{bc_gitops, [{repo_url, \"/nonexistent\"}, {build_jobs, 1}]}].\n"),
    Port = bct_consumer:start(Dir, ["sh", path("examples/run.sh"), Repo, "main"], [
        {"RUN_DIR", filename:join(Dir, "run")}, {"RUN_CONFIG", Node},
        {"BC_GITOPS_LIB", code:lib_dir(bc_gitops)}
    ]),
    [] = bct_consumer:await(Port, <<"synced at ", Commit/binary>>),
    bct_consumer:stop(Port).

%% The suite runs in a log directory: the project's root is above its source.
path(Relative) ->
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    filename:join(root(filename:dirname(Source)), Relative).

root(Dir) ->
    case filelib:is_dir(filename:join(Dir, "examples")) of
        true -> Dir;
        false -> root(filename:dirname(Dir))
    end.
