%%% @doc The repositories of the demo, and the only hand that changes the world: git.
-module(bcg_demo_world).

-export([create/2, open/2, workspace/1, log/1]).
-export([specify/3, break_spec/3, revert/1, remove/3, push/1, release/4, sources/3]).

-export_type([world/0]).

-type world() :: #{dir := file:filename(), examples := file:filename(),
                   goods => bcg_demo_shop:goods()}.

-define(PLACEHOLDER, <<"https://git.example.org/samples">>).
-define(APPS, ["beacon", "tally", "greeter"]).

%% @doc Makes bare repositories of the GitOps example and of the three applications (each tagged
%% v1.0.0), and the configuration of the node. The GitOps repository names no application yet.
-spec create(file:filename(), file:filename()) -> ok.
create(Dir, Examples) ->
    World = open(Dir, Examples),
    lists:foreach(
        fun(App) ->
            Work = work(World, App),
            copy_tree(filename:join([Examples, "apps", App]), Work),
            new_repository(World, App),
            _ = commit(World, App, App ++ " 1.0.0"),
            ok = push(World, App),
            tag(World, App, "1.0.0")
        end,
        ?APPS
    ),
    copy_file(filename:join([Examples, "gitops-repo", "README.md"]),
              filename:join(work(World, "gitops"), "README.md")),
    new_repository(World, "gitops"),
    _ = commit(World, "gitops", "An empty GitOps repository"),
    ok = push(World),
    file:write_file(filename:join(Dir, "sys.config"), io_lib:format("~tp.~n", [sys_config(World)])).

sys_config(#{dir := Dir} = World) ->
    Log = #{config => #{file => log_file(World)}},
    [
        {bc_gitops, [
            {repo_url, url(World, "gitops")},
            {local_path, filename:join(Dir, "clone")},
            {workspace_path, workspace(World)},
            {state_path, filename:join(Dir, "state")},
            {reconcile_interval, 300}
        ]},
        {kernel, [{logger, [{handler, default, logger_std_h, Log}]}]}
    ].

-spec open(file:filename(), file:filename()) -> world().
open(Dir, Examples) ->
    #{dir => Dir, examples => Examples}.

%% @doc Where bc_gitops keeps what it built.
-spec workspace(world()) -> file:filename().
workspace(#{dir := Dir}) ->
    filename:join(Dir, "workspace").

%% @doc What the node has logged.
-spec log(world()) -> binary().
log(World) ->
    {ok, Text} = file:read_file(log_file(World)),
    Text.

log_file(#{dir := Dir}) ->
    filename:join(Dir, "bc_gitops.log").

%% @doc Commits the specifications of applications as they stand in examples/, with changes
%% `[{From, To}]' made in their text; answers the commit's id.
-spec specify(world(), string(), [{atom(), [{binary(), binary()}]}]) -> binary().
specify(World, Message, Changes) ->
    lists:foreach(fun({App, Edits}) -> edit_spec(World, App, Edits) end, Changes),
    commit(World, "gitops", Message).

%% @doc Commits an application's specification with its end cut off.
-spec break_spec(world(), string(), atom()) -> binary().
break_spec(World, Message, App) ->
    File = spec_file(World, App),
    {ok, Text} = file:read_file(File),
    [Kept, _] = binary:split(Text, <<"depends_on">>),
    ok = file:write_file(File, Kept),
    commit(World, "gitops", Message).

%% @doc Commits the opposite of the last commit, as a person would: `git revert'.
-spec revert(world()) -> binary().
revert(World) ->
    _ = git(World, "gitops", ["revert", "--no-edit", "HEAD"]),
    head(World, "gitops").

%% @doc Pushes what was committed to the GitOps repository: from here on bc_gitops may see it.
-spec push(world()) -> ok.
push(World) ->
    push(World, "gitops").

%% @doc Commits, tags and pushes a version of an application: the files in
%% examples/demo/changes/APP-VERSION laid over it, and its number in all sources.
-spec release(world(), atom(), string(), string()) -> ok.
release(#{examples := Examples} = World, App, From, To) ->
    Name = atom_to_list(App),
    Work = work(World, Name),
    Changes = filename:join([Examples, "demo", "changes", Name ++ "-" ++ To]),
    copy_tree(Changes, Work),
    remove_listed(filename:join(Work, "REMOVED"), Work),
    Sources = filelib:wildcard(filename:join([Work, "src", "*"])),
    Old = quoted(From),
    lists:foreach(
        fun(File) ->
            {ok, Text} = file:read_file(File),
            ok = file:write_file(File, binary:replace(Text, Old, quoted(To), [global]))
        end,
        Sources
    ),
    _ = commit(World, Name, Name ++ " " ++ To),
    ok = push(World, Name),
    tag(World, Name, To).

%% A change may list files that it takes away.
remove_listed(List, Work) ->
    case file:read_file(List) of
        {ok, Text} ->
            Gone = [List | [filename:join(Work, F) || F <- string:lexemes(Text, "\n")]],
            lists:foreach(fun(File) -> ok = file:delete(File) end, Gone);
        {error, enoent} ->
            ok
    end.

quoted(Version) ->
    iolist_to_binary([$", Version, $"]).

%% @doc Commits without the application's directory.
-spec remove(world(), string(), atom()) -> binary().
remove(World, Message, App) ->
    _ = git(World, "gitops", ["rm", "-r", "-q", "apps/" ++ atom_to_list(App)]),
    commit(World, "gitops", Message).

%% @doc The Erlang sources of an application at a version, as git has them under the tag.
-spec sources(world(), atom(), string()) -> [{file:filename(), binary()}].
sources(World, App, Version) ->
    Name = atom_to_list(App),
    Tag = "v" ++ Version,
    Listed = git(World, Name, ["ls-tree", "--name-only", Tag, "src/"]),
    [
        {filename:basename(Path), git(World, Name, ["show", Tag ++ ":" ++ Path])}
     || Path <- string:lexemes(binary_to_list(Listed), "\n"), filename:extension(Path) =:= ".erl"
    ].

%% Specifications

edit_spec(World, App, Edits) ->
    File = spec_file(World, App),
    Text =
        case file:read_file(File) of
            {ok, Present} -> Present;
            {error, enoent} -> template(World, App)
        end,
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, lists:foldl(fun edit/2, Text, Edits)).

edit({From, To}, Text) ->
    case binary:replace(Text, From, To, [global]) of
        Text -> throw({demo, ["nothing to change in the specification: ", From]});
        Changed -> Changed
    end.

template(#{examples := Examples} = World, App) ->
    Directory = filename:join([Examples, "gitops-repo", "apps", atom_to_list(App)]),
    [File] = filelib:wildcard(filename:join(Directory, "app.*")),
    {ok, Text} = file:read_file(File),
    ok = filelib:ensure_dir(filename:join(work(World, "gitops"), spec_path(World, App))),
    binary:replace(Text, ?PLACEHOLDER, iolist_to_binary(base_url(World)), [global]).

spec_file(World, App) ->
    filename:join(work(World, "gitops"), spec_path(World, App)).

spec_path(#{examples := Examples}, App) ->
    Name = atom_to_list(App),
    [File] = filelib:wildcard(filename:join([Examples, "gitops-repo", "apps", Name, "app.*"])),
    filename:join(["apps", Name, filename:basename(File)]).

%% Repositories: each has a work tree (work/NAME) and a bare one (git/NAME.git) that is followed

new_repository(#{dir := Dir} = World, Name) ->
    Bare = filename:join([Dir, "git", Name ++ ".git"]),
    ok = filelib:ensure_path(Bare),
    _ = git_in(Bare, ["init", "-q", "--bare", "-b", "main"]),
    _ = git(World, Name, ["init", "-q", "-b", "main"]),
    _ = git(World, Name, ["remote", "add", "origin", url(World, Name)]),
    ok.

commit(World, Name, Message) ->
    _ = git(World, Name, ["add", "-A"]),
    _ = git(World, Name, ["commit", "-q", "-m", Message]),
    head(World, Name).

head(World, Name) ->
    string:trim(git(World, Name, ["rev-parse", "HEAD"])).

push(World, Name) ->
    _ = git(World, Name, ["push", "-q", "origin", "HEAD:main"]),
    ok.

tag(World, Name, Version) ->
    _ = git(World, Name, ["tag", "-a", "v" ++ Version, "-m", Version]),
    _ = git(World, Name, ["push", "-q", "origin", "v" ++ Version]),
    ok.

url(World, Name) ->
    lists:flatten([base_url(World), "/", Name, ".git"]).

base_url(#{dir := Dir}) ->
    ["file://", filename:join(Dir, "git")].

work(#{dir := Dir}, Name) ->
    filename:join([Dir, "work", Name]).

%% Files and programs

copy_tree(From, To) ->
    Files = filelib:wildcard("**", From) ++ filelib:wildcard("**/.*", From),
    lists:foreach(
        fun(File) ->
            Source = filename:join(From, File),
            filelib:is_regular(Source) andalso copy_file(Source, filename:join(To, File))
        end,
        Files
    ).

copy_file(From, To) ->
    ok = filelib:ensure_dir(To),
    {ok, _} = file:copy(From, To),
    ok.

git(World, Name, Args) ->
    git_in(work(World, Name), Args).

git_in(Dir, Args) ->
    Port = open_port({spawn_executable, os:find_executable("git")}, [
        binary, exit_status, stderr_to_stdout, hide, {cd, Dir}, {args, Args}, {env, environment()}
    ]),
    collect(Port, Args, []).

%% The user's own git configuration (hooks, signing, names) has no part in the demo.
environment() ->
    [
        {"GIT_CONFIG_GLOBAL", "/dev/null"}, {"GIT_CONFIG_NOSYSTEM", "1"},
        {"GIT_AUTHOR_NAME", "Demo"}, {"GIT_AUTHOR_EMAIL", "demo@example.org"},
        {"GIT_COMMITTER_NAME", "Demo"}, {"GIT_COMMITTER_EMAIL", "demo@example.org"}
    ].

collect(Port, Args, Output) ->
    receive
        {Port, {data, Data}} ->
            collect(Port, Args, [Output, Data]);
        {Port, {exit_status, 0}} ->
            iolist_to_binary(Output);
        {Port, {exit_status, Status}} ->
            Command = lists:join($\s, ["git" | Args]),
            throw({demo, io_lib:format("~ts ended with ~b:~n~ts", [Command, Status, Output])})
    end.
