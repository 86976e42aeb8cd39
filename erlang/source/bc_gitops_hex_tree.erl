%%% @doc Lays the packages of a lock out so that one build tool compiles them all without a registry.
%%% Which tool that is stands in their metadata.
%%%
%%% The packages become dependencies of an empty project, as they are wherever else they are used: what
%%% an author sets up for working on a package (plugins for publishing, optional and development
%%% dependencies) has no part in it. rebar3 finds them in `_checkouts' (and their plugins where
%%% `bc_gitops_hex_plugins' has them), mix in `deps' with the marks that Hex leaves there, erlang.mk
%%% builds the package itself with its dependencies in `deps'.
-module(bc_gitops_hex_tree).

-export([arrange/4]).

-import(bc_gitops_words, [text/2]).

-export_type([package/0]).

-type package() :: #{
    name := binary(),
    app := binary(),             % the OTP application
    version := binary(),
    repo := binary(),
    sha256 := binary(),          % of the archive
    inner_sha256 := binary(),    % of what is in it, as Hex writes it into locks
    path := binary(),            % where its files are now
    build_tools := [binary()],
    requirements => [requirement()],
    plugins => [bc_gitops_hex_plugins:named()],
    atom() => term()
}.
-type requirement() :: #{name := binary(), app := binary(), requirement := binary(),
                         optional := boolean(), atom() => term()}.
-type failure() :: {error, {atom(), map()}}.

%% @doc Moves the packages, and the plugins that they are built with, to their places below Dir. Name is
%% the package that all the others are for. The notes are for who reads the build's log.
-spec arrange(Name :: binary(), [package()], Plugins :: [package()], Dir :: binary()) ->
    {ok, rebar3 | mix | erlang_mk, Notes :: [binary()]} | failure().
arrange(Name, Packages, Plugins, Dir) ->
    Managed = [{manager(Package), Package} || Package <- Packages],
    case {same_application(Name, Packages), tool(Name, Managed)} of
        {{error, _} = Error, _} -> Error;
        {ok, {error, _} = Error} -> Error;
        {ok, {ok, Tool}} ->
            case {moved(Tool, Name, Packages, Plugins, Dir), Tool} of
                {ok, rebar3} -> {ok, rebar3, bc_gitops_hex_plugins:left_out(Packages, Plugins)};
                {ok, _} -> {ok, Tool, []};
                {{error, _} = Error, _} -> Error
            end
    end.

%% A node has one application of a name: two packages with it can neither be built nor run together.
same_application(Name, Packages) ->
    Apps = [App || #{app := App} <- Packages],
    case lists:sort(Apps -- lists:usort(Apps)) of
        [] ->
            ok;
        [App | _] ->
            Each = [Package || #{app := A} = Package <- Packages, A =:= App],
            Named = [[N, " ", V] || #{name := N, version := V} <- Each],
            Message = text("the Hex packages ~ts bring the same application, ~ts, of which a node has one, and "
                           "~ts needs them together; use a version of ~ts that needs one of them alone, or build "
                           "it from a git repository of yours whose dependencies name one of them",
                           [lists:join(" and ", Named), App, Name, Name]),
            {error, {same_application, #{app => App, packages => [N || #{name := N} <- Each], message => Message}}}
    end.

%% What builds one package. One of both worlds is Erlang: mix would have rebar3 build it.
manager(#{build_tools := Tools}) ->
    Known = [{<<"rebar3">>, rebar3}, {<<"rebar">>, rebar3}, {<<"mix">>, mix}, {<<"make">>, make},
             {<<"erlang.mk">>, make}],
    case [Manager || {Tool, Manager} <- Known, lists:member(Tool, Tools)] of
        [Manager | _] -> Manager;
        [] -> unknown
    end.

%% What builds them all: mix can do it with everything, rebar3 with what looks like OTP's own
%% applications, make with its like alone.
tool(Name, Managed) ->
    Managers = lists:usort([Manager || {Manager, _} <- Managed]),
    case {lists:member(unknown, Managers), lists:member(mix, Managers), Managers} of
        {true, _, _} -> {error, no_tool([Package || {unknown, Package} <- Managed])};
        {false, true, _} -> {ok, mix};
        {false, false, [make]} -> {ok, erlang_mk};
        {false, false, _} -> with_rebar3(Name, [Package || {make, Package} <- Managed])
    end.

with_rebar3(Name, Made) ->
    case [Package || #{path := Path} = Package <- Made, not is_plain(Path)] of
        [] -> {ok, rebar3};
        [#{name := Other} | _] ->
            Message = text("~ts is built with make and cannot be built together with packages for rebar3; "
                           "build ~ts from its git repository (source type git)", [Other, Name]),
            {error, {build_tools_differ, #{package => Other, message => Message}}}
    end.

is_plain(Path) ->
    Root = unicode:characters_to_list(Path),
    lists:any(fun(Pattern) -> filelib:wildcard(Pattern, Root) =/= [] end, ["src/*.app.src", "ebin/*.app"])
        andalso not filelib:is_dir(filename:join(Root, "c_src")).

no_tool([#{name := Name, build_tools := Tools} | _]) ->
    Named = case Tools of [] -> "none"; _ -> lists:join(", ", Tools) end,
    Message = text("the Hex package ~ts is built with neither rebar3, mix nor make (its metadata says: ~ts)",
                   [Name, Named]),
    {build_tool_unknown, #{package => Name, build_tools => Tools, message => Message}}.

%% An application may have another name than its package; build tools go by the application's.
moved(rebar3, Name, Packages, Plugins, Dir) ->
    [App] = [App || #{name := N, app := App} <- Packages, N =:= Name],
    Files = bc_gitops_hex_plugins:files(App, Packages, Plugins),
    steps([fun() -> move_all(Packages, Dir, "_checkouts") end,
           fun() -> move_all(Plugins, bc_gitops_hex_plugins:project(Dir), "_checkouts") end
           | [fun() -> write(Dir, File, Content) end || {File, Content} <- Files]]);
moved(mix, Name, Packages, _Plugins, Dir) ->
    [Root] = [Package || #{name := N} = Package <- Packages, N =:= Name],
    Marks = [fun() -> mark(Package, Dir) end || Package <- Packages],
    steps([fun() -> move_all(Packages, Dir, "deps") end,
           fun() -> write(Dir, "mix.exs", mix_project(Root)) end,
           fun() -> write(Dir, "mix.lock", mix_lock(Packages)) end | Marks]);
moved(erlang_mk, Name, Packages, _Plugins, Dir) ->
    {[#{path := Path}], Others} = lists:partition(fun(#{name := N}) -> N =:= Name end, Packages),
    Aside = <<Dir/binary, ".packages">>,
    steps([fun() -> renamed(filename:dirname(Path), Aside) end,
           fun() -> as_unwritable(file:del_dir(Dir), Dir) end,
           fun() -> renamed(filename:join(Aside, filename:basename(Path)), Dir) end,
           fun() -> move_all([P#{path := filename:join(Aside, filename:basename(Old))}
                              || #{path := Old} = P <- Others], Dir, "deps") end]).

move_all(Packages, Dir, Place) ->
    Move = fun(#{app := App, path := Path}) ->
        Target = filename:join([Dir, Place, App]),
        steps([fun() -> as_unwritable(filelib:ensure_dir(Target), Target) end,
               fun() -> renamed(Path, Target) end])
    end,
    steps([fun() -> Move(Package) end || Package <- Packages]).

%% The mark by which Hex for Mix knows a dependency as fetched: `Hex.SCM', manifest version 2.
mark(#{app := App, name := Name, version := Version, repo := Repo} = Package, Dir) ->
    #{inner_sha256 := Inner, sha256 := Outer} = Package,
    Manifest = #{name => Name, version => Version, repo => Repo, inner_checksum => Inner,
                 outer_checksum => Outer, managers => [manager(Package)]},
    write(filename:join([Dir, "deps", App]), ".hex", term_to_binary({{hex, 2, 0}, Manifest})).

mix_project(#{app := App, name := Name, version := Version, repo := Repo}) ->
    text("defmodule BcGitopsHex.MixProject do~n  use Mix.Project~n~n  def project do~n"
         "    [app: :bc_gitops_hex, version: \"0.0.0\",~n"
         "     deps: [{:~ts, ~ts, hex: ~ts, repo: ~ts}]]~n  end~nend~n",
         [App, quoted(<<"== ", Version/binary>>), quoted(Name), quoted(Repo)]).

%% As Hex writes it: the dependencies of a dependency are read from here, not from its mix.exs.
mix_lock(Packages) ->
    text("%{~n~ts~n}~n", [lists:join(",\n", [mix_lock_line(Package) || Package <- Packages])]).

mix_lock_line(#{app := App, name := Name, version := Version, repo := Repo} = Package) ->
    #{inner_sha256 := Inner, sha256 := Outer} = Package,
    Needs = [need(Need, Repo) || Need <- maps:get(requirements, Package, [])],
    text("  \"~ts\": {:hex, :~ts, ~ts, \"~ts\", [:~s], [~ts], ~ts, \"~ts\"}",
         [App, Name, quoted(Version), Inner, manager(Package), lists:join(", ", Needs), quoted(Repo),
          Outer]).

need(#{name := Name, app := App, requirement := Range, optional := Optional} = Need, Home) ->
    Repo = case Need of
        #{repo := Named} when is_binary(Named) -> Named;
        #{} -> Home
    end,
    text("{:~ts, ~ts, [hex: :~ts, repo: ~ts, optional: ~s]}",
         [App, quoted(Range), Name, quoted(Repo), Optional]).

%% A string of Elixir without interpolation.
quoted(Text) ->
    [$", re:replace(Text, "[\\\\\"#]", "\\\\&", [global, unicode, {return, binary}]), $"].

write(Dir, Name, Content) ->
    File = filename:join(Dir, Name),
    steps([fun() -> as_unwritable(filelib:ensure_dir(File), File) end,
           fun() -> as_unwritable(file:write_file(File, Content), File) end]).

renamed(From, To) ->
    as_unwritable(file:rename(From, To), To).

as_unwritable(ok, _Path) -> ok;
as_unwritable({error, Reason}, Path) -> {error, {unwritable, #{path => Path, reason => Reason}}}.

steps([]) -> ok;
steps([Step | Rest]) ->
    case Step() of
        ok -> steps(Rest);
        {error, _} = Error -> Error
    end.
