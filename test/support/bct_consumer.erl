%%% @doc Projects that depend on this repository: a snapshot of the work tree as a git repository,
%%% copies of test/consumers, the commands run in them, and the programs that come out.
-module(bct_consumer).
-export([dir/0, snapshot/1, change/3, copy/3, environment/0, path_without/2, path_with/3]).
-export([run/3, run/4, start/3, await/2, stop/1]).

-define(RUN_TIMEOUT, 900000).
-define(AWAIT_TIMEOUT, 120000).

%% @doc An empty directory, always of the same name: what cargo knows of crates in it serves again.
dir() ->
    Dir = filename:join(shared(), "work"),
    bct_dir:remove(Dir),
    ok = filelib:ensure_path(Dir),
    Dir.

%% @doc The files of the work tree, whether committed or not, as the branch main of a repository.
snapshot(Dir) ->
    Root = bct_layout:root(),
    Listed = bct_repo:git(Root, ["ls-files", "-z", "-c", "-o", "--exclude-standard"]),
    Files = [binary_to_list(File) || File <- binary:split(Listed, <<0>>, [global, trim])],
    Repo = bct_repo:init(Dir),
    [copy_file(filename:join(Root, File), filename:join(Dir, File)) || File <- lists:usort(Files),
        filelib:is_regular(filename:join(Root, File))],
    _ = bct_repo:commit(Repo, []),
    Repo.

%% @doc Replaces text in a file of the snapshot, which must be there, and commits.
change(Repo, File, {From, To}) ->
    Path = filename:join(Repo, File),
    {ok, Text} = file:read_file(Path),
    {match, _} = re:run(Text, From),
    bct_repo:commit(Repo, [{File, re:replace(Text, From, To)}]).

%% @doc A copy of the project test/consumers/Name in Dir, its words filled in.
copy(Name, Dir, Words) ->
    From = filename:join([bct_layout:root(), "test", "consumers", Name]),
    lists:foreach(
        fun(File) ->
            {ok, Text} = file:read_file(filename:join(From, File)),
            Path = filename:join(Dir, File),
            ok = filelib:ensure_dir(Path),
            ok = file:write_file(Path, lists:foldl(fun fill_in/2, Text, Words))
        end,
        [File || File <- filelib:wildcard("**", From),
                 filelib:is_regular(filename:join(From, File))]
    ).

fill_in({Word, Text}, File) ->
    binary:replace(File, <<"@", Word/binary, "@">>, iolist_to_binary(Text), [global]).

%% @doc All consumers share what cargo builds, quickly built instead of fast, and in parts that are
%% built once: what is tested is that it is built, and comes along.
environment() ->
    [
        {"CARGO_TARGET_DIR", filename:join(shared(), "target")},
        {"CARGO_INCREMENTAL", "1"},
        {"CARGO_PROFILE_RELEASE_LTO", "off"},
        {"CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"},
        {"CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"},
        {"MIX_ENV", "dev"},
        {"LC_ALL", "C.UTF-8"}
    ].

shared() ->
    filename:join([bct_layout:root(), "_build", "consumers"]).

%% @doc A PATH with every program of the present one except those named.
path_without(Dir, Names) ->
    path_with(Dir, Names, []).

%% @doc The same, with scripts `{Name, Text}' instead of programs.
path_with(Dir, Names, Scripts) ->
    ok = filelib:ensure_path(Dir),
    Left = Names ++ [Name || {Name, _} <- Scripts],
    lists:foreach(
        fun(From) ->
            {ok, Programs} = list_dir(From),
            [file:make_symlink(filename:join(From, Program), filename:join(Dir, Program))
             || Program <- Programs -- Left]
        end,
        string:lexemes(os:getenv("PATH") ++ ":/usr/sbin:/sbin", ":")
    ),
    lists:foreach(fun({Name, Text}) -> script(filename:join(Dir, Name), Text) end, Scripts),
    Dir.

list_dir(Dir) ->
    case file:list_dir(Dir) of
        {error, enoent} -> {ok, []};
        Listed -> Listed
    end.

script(Path, Text) ->
    ok = file:write_file(Path, ["#!/bin/sh\n", Text, "\n"]),
    ok = file:change_mode(Path, 8#755).

%% @doc Runs a command to its end: `{Status, Output}'.
run(Dir, Command, Args) ->
    run(Dir, Command, Args, []).

run(Dir, Command, Args, Env) ->
    collect(open(Dir, Command, Args, Env), <<>>).

%% @doc Starts a program that goes on; its lines are read by await/2.
start(Dir, [Command | Args], Env) ->
    open(Dir, Command, Args, Env).

%% @doc Waits for output that matches, in what was not read before; answers the match's groups.
await(Port, Pattern) ->
    await(Port, Pattern, <<>>).

await(Port, Pattern, Output) ->
    receive
        {Port, {data, Data}} ->
            Text = <<Output/binary, Data/binary>>,
            case re:run(Text, Pattern, [multiline, unicode, {capture, all_but_first, binary}]) of
                {match, Groups} -> Groups;
                match -> [];
                nomatch -> await(Port, Pattern, Text)
            end;
        {Port, {exit_status, Status}} ->
            error({ended_too_early, Status, {waited_for, Pattern}, binary_to_list(Output)})
    after ?AWAIT_TIMEOUT ->
        _ = stop(Port),
        error({waited_in_vain, Pattern, binary_to_list(Output)})
    end.

%% @doc Asks the program to end and waits until it has.
stop(Port) ->
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    {0, _} = run("/", "kill", [integer_to_list(Pid)]),
    collect(Port, <<>>).

open(Dir, Command, Args, Env) ->
    Path = proplists:get_value("PATH", Env, os:getenv("PATH")),
    Program = os:find_executable(Command, Path),
    Program =/= false orelse error({no_program, Command, Path}),
    All = lists:ukeymerge(1, lists:ukeysort(1, Env), lists:ukeysort(1, environment())),
    open_port({spawn_executable, Program}, [
        binary, exit_status, stderr_to_stdout, hide, {cd, Dir}, {args, Args}, {env, All}
    ]).

collect(Port, Output) ->
    receive
        {Port, {data, Data}} -> collect(Port, <<Output/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Status, Output}
    after ?RUN_TIMEOUT ->
        error({no_end, Output})
    end.

copy_file(From, To) ->
    ok = filelib:ensure_dir(To),
    {ok, _} = file:copy(From, To),
    {ok, Info} = file:read_file_info(From),
    ok = file:write_file_info(To, Info).
