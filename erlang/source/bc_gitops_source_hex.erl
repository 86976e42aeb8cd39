%%% @doc Hex packages: one exact version, with everything it needs.
%%%
%%% The native client resolves, fetches and verifies; a build gets all packages beside each other and
%%% needs no registry. The registries of `hex_repos' are asked in their order, then hex.pm or its
%%% mirror: the first that has the package is its home and decides, also about a version that it does
%%% not have; the lock says which that was. What was locked before is taken as it is, without asking
%%% anybody; for another version of the package it is what is preferred.
-module(bc_gitops_source_hex).
-behaviour(bc_gitops_source).

-include("bc_gitops.hrl").
-include_lib("kernel/include/logger.hrl").

-export([type/0, resolve/2, fetch/5]).

-spec type() -> hex.
type() -> hex.

%% @doc The versions of all packages that are needed, and what names them together.
-spec resolve(#source_spec{}, bc_gitops_source:options()) ->
    bc_gitops_source:known() | {error, {atom(), map()}}.
resolve(#source_spec{ref = Ref}, #{app := App} = Options) ->
    Name = atom_to_binary(App),
    case {Ref, Options} of
        {undefined, #{version := Version}} when is_binary(Version) -> choose(Name, Version, Options);
        {Version, _} when is_binary(Version) -> choose(Name, Version, Options);
        _ ->
            Message = bc_gitops_words:text("~ts comes from Hex and has no version; give its spec one", [Name]),
            {error, {bad_ref, #{package => Name, message => Message}}}
    end.

choose(Name, Version, Options) ->
    Lock = maps:get(lock, Options, []),
    case is_lock_of(Name, Version, Lock) of
        true ->
            known(Lock);
        false ->
            %% What remains of the time is for fetching and building.
            Timed = maps:merge(Options, maps:with([timeout], bc_gitops_source:access(Options))),
            with_registries(fun(Repos) -> ask(Repos, Name, Version, Timed) end)
    end.

%% What was chosen for another version stays wherever this one allows it. The package itself is looked
%% for as if it were new.
preferred(Name, Options) ->
    [Locked || #{name := N} = Locked <- maps:get(prefer, Options, []), N =/= Name].

is_lock_of(Name, Version, Lock) ->
    lists:any(fun(#{name := N, version := V}) -> N =:= Name andalso V =:= Version end, Lock).

known(Lock) ->
    {ok, #{revision => revision(Lock), lock => Lock}}.

revision(Lock) ->
    Lines = lists:sort([lists:join(" ", [Name, Version, Repo, Digest]) || Each <- Lock,
                        #{name := Name, version := Version, repo := Repo, sha256 := Digest} <- [Each]]),
    Sum = bc_gitops_native:digest_bytes(sha256, [[Line, $\n] || Line <- Lines]),
    string:lowercase(binary:encode_hex(Sum)).

with_registries(Fun) ->
    case bc_gitops_config_hex:registries(bc_gitops_config:current()) of
        {ok, Repos} -> Fun(Repos);
        {error, _} = Error -> Error
    end.

ask(Repos, Name, Version, Options) ->
    Request = #{op => resolve, name => Name, version => Version, lock => preferred(Name, Options)},
    case request(Request, Repos, Options) of
        {ok, #{lock := Lock, retired := Retired}} ->
            warn(Name, Retired),
            known(Lock);
        {error, _} = Error ->
            Error
    end.

warn(_Name, []) ->
    ok;
warn(Name, Retired) ->
    Each = [io_lib:format("~ts ~ts", [Package, Version])
            || #{name := Package, version := Version} <- Retired],
    ?LOG_WARNING("bc_gitops: ~ts needs what its owners have retired: ~ts", [Name, lists:join(", ", Each)]).

%% @doc Puts the packages at Dir, laid out for the tool that builds them. `deps_start' and
%% `deps_stop' are told.
-spec fetch(atom(), #source_spec{}, bc_gitops_source:known(), Dir :: binary(),
            bc_gitops_source:options()) ->
    {ok, bc_gitops_source:fetched()} | {error, {atom(), map()}}.
fetch(App, _Source, {ok, #{revision := Revision, lock := Lock}}, Dir, Options) ->
    Fetched = bc_gitops_span:run(deps, #{app => App, tool => hex}, fun() ->
        with_registries(fun(Repos) -> download(Lock, Dir, Repos, Options) end)
    end),
    case Fetched of
        {ok, #{packages := Packages}} ->
            ok = bc_gitops_content_cache:trim(tarballs(Options)),
            case bc_gitops_hex_tree:arrange(atom_to_binary(App), with_lock(Packages, Lock), Dir) of
                {ok, Tool} -> {ok, #{revision => Revision, lock => Lock, tool => Tool, deps => here}};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% Where the native client keeps archives.
tarballs(#{cache := Cache}) ->
    filename:join(Cache, <<"tarballs">>).

download(Lock, Dir, Repos, Options) ->
    Packages = filename:join(Dir, <<"packages">>),
    case filelib:ensure_path(Packages) of
        ok -> request(#{op => fetch, packages => Lock, dir => Packages}, Repos, Options);
        {error, Reason} -> {error, {unwritable, #{path => Packages, reason => Reason}}}
    end.

%% Whose requirements are those of the lock: they name repositories as they are configured here.
with_lock(Packages, Lock) ->
    [maps:merge(Package, maps:with([requirements], Locked))
     || #{name := Name} = Package <- Packages, #{name := N} = Locked <- Lock, N =:= Name].

request(Request, Repos, #{timeout := Timeout, cache := Cache} = Options) ->
    OnProgress = maps:get(on_progress, Options, fun(_) -> ok end),
    #{auth := Auth} = bc_gitops_source:access(Options),
    Common = maps:with([ca_file], Auth),
    All = maps:merge(Request, Common#{repos => Repos, cache => Cache, timeout => Timeout}),
    Start = fun(To, Ref) -> bc_gitops_native:hex_start(All, To, Ref) end,
    bc_gitops_job:run(Start, Timeout, OnProgress).
