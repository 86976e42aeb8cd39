%%% @doc Hex packages: one exact version, with everything it needs.
%%%
%%% The native client resolves, fetches and verifies; a build gets all packages beside each other and
%%% needs no registry. The registries of `hex_repos' are asked in their order, then hex.pm or its
%%% mirror: the first that has the package is its home and decides, also about a version that it does
%%% not have; the lock says which that was. What was locked before is taken as it is, without asking
%%% anybody; for another version of the package it is what is preferred. The rebar3
%%% plugins that the packages are built with are part of the lock, marked as such.
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
resolve(#source_spec{ref = Ref, sha256 = Sha256}, #{app := App} = Options) ->
    Name = atom_to_binary(App),
    pinned(Sha256, Name, chosen(Name, Ref, Options)).

chosen(Name, Ref, Options) ->
    case {Ref, Options} of
        {undefined, #{version := Version}} when is_binary(Version) -> choose(Name, Version, Options);
        {Version, _} when is_binary(Version) -> choose(Name, Version, Options);
        _ ->
            Message = bc_gitops_words:text("~ts comes from Hex and has no version; give its spec one", [Name]),
            {error, {bad_ref, #{package => Name, message => Message}}}
    end.

%% A spec may name the archive itself, as mix.lock and rebar.lock do.
pinned(undefined, _Name, Chosen) ->
    Chosen;
pinned(Sha256, Name, {ok, #{lock := Lock}} = Chosen) ->
    {_, Packages} = parted(Lock),
    [#{sha256 := Found} = Package] = [Each || #{name := N} = Each <- Packages, N =:= Name],
    case bc_gitops_source:sha256(Sha256) of
        {ok, Found} -> Chosen;
        {ok, Expected} -> another(Package, Expected);
        error -> {error, {bad_sha256, #{message =>
            <<"sha256 is neither 64 hexadecimal digits nor 32 bytes in base64">>}}}
    end;
pinned(_Sha256, _Name, {error, _} = Error) ->
    Error.

another(#{name := Name, version := Version, repo := Repo, sha256 := Found}, Expected) ->
    Message = bc_gitops_words:text(
        "the archive of ~ts ~ts in the registry ~ts is not the one that its spec names (expected ~ts, found ~ts); "
        "correct the sha256 there, or ask the owner of the package", [Name, Version, Repo, Expected, Found]),
    {error, {digest_mismatch, #{package => Name, version => Version, expected => Expected,
                                found => Found, message => Message}}}.

choose(Name, Version, Options) ->
    Lock = maps:get(lock, Options, []),
    case is_lock_of(Name, Version, Lock) of
        true ->
            known(Lock);
        false ->
            %% What remains of the time is for fetching and building.
            Timed = maps:merge(Options, maps:with([timeout], bc_gitops_source:access(Options))),
            with_registries(fun(Repos) ->
                case ask(Repos, Name, Version, Timed) of
                    {ok, Packages} -> with_plugins(Repos, Name, Packages, Options);
                    {error, _} = Error -> Error
                end
            end)
    end.

%% What was chosen for another version stays wherever this one allows it. The package itself is looked
%% for as if it were new.
preferred(Name, Options) ->
    {_, Packages} = parted(maps:get(prefer, Options, [])),
    [Locked || #{name := N} = Locked <- Packages, N =/= Name].

is_lock_of(Name, Version, Lock) ->
    {_, Packages} = parted(Lock),
    lists:any(fun(#{name := N, version := V}) -> N =:= Name andalso V =:= Version end, Packages).

%% Plugins have versions of their own: one of them may be a package of the application as well.
parted(Lock) ->
    lists:partition(fun(Locked) -> maps:get(plugin, Locked, false) end, Lock).

known(Lock) ->
    {ok, #{revision => revision(Lock), lock => Lock}}.

revision(Lock) ->
    Line = fun(#{name := Name, version := Version, repo := Repo, sha256 := Digest} = Each) ->
        lists:join(" ", [Name, Version, Repo, Digest] ++ ["plugin" || #{plugin := true} <- [Each]])
    end,
    Lines = lists:sort([Line(Each) || Each <- Lock]),
    Sum = bc_gitops_native:digest_bytes(sha256, [[Each, $\n] || Each <- Lines]),
    bc_gitops_source:hex(Sum).

with_registries(Fun) ->
    case bc_gitops_config_hex:registries(bc_gitops_config:current()) of
        {ok, Repos} -> Fun(Repos);
        {error, _} = Error -> Error
    end.

ask(Repos, Name, Version, Options) ->
    Request = #{op => resolve, name => Name, version => Version, lock => preferred(Name, Options)},
    answered(Name, request(Request, Repos, Options)).

%% Packages name plugins in their files, so these are fetched for it; the cache keeps them.
with_plugins(Repos, Name, Packages, Options) ->
    {Before, _} = parted(maps:get(prefer, Options, [])),
    Request = #{op => plugins, name => Name, packages => Packages, lock => Before},
    case answered(Name, request(Request, Repos, Options)) of
        {ok, Plugins} -> known(Packages ++ [Plugin#{plugin => true} || Plugin <- Plugins]);
        {error, _} = Error -> Error
    end.

answered(Name, {ok, #{lock := Lock, retired := Retired}}) ->
    warn(Name, Retired),
    {ok, Lock};
answered(_Name, {error, _} = Error) ->
    Error.

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
        {ok, {Packages, Plugins}} ->
            ok = bc_gitops_content_cache:trim(tarballs(Options)),
            case bc_gitops_hex_tree:arrange(atom_to_binary(App), Packages, Plugins, Dir) of
                {ok, Tool, Notes} ->
                    {ok, #{revision => Revision, lock => Lock, tool => Tool, deps => here, notes => Notes}};
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% Where the native client keeps archives.
tarballs(#{cache := Cache}) ->
    filename:join(Cache, <<"tarballs">>).

download(Lock, Dir, Repos, Options) ->
    {Plugins, Packages} = parted(Lock),
    Project = bc_gitops_hex_plugins:project(Dir),
    case {download_to(Dir, Packages, Repos, Options), Plugins} of
        {{error, _} = Error, _} -> Error;
        {{ok, Fetched}, []} -> {ok, {Fetched, []}};
        {{ok, Fetched}, _} ->
            case download_to(Project, Plugins, Repos, Options) of
                {ok, Builders} -> {ok, {Fetched, Builders}};
                {error, _} = Error -> Error
            end
    end.

download_to(Dir, Lock, Repos, Options) ->
    Place = filename:join(Dir, <<"packages">>),
    case filelib:ensure_path(Place) of
        ok ->
            case request(#{op => fetch, packages => Lock, dir => Place}, Repos, Options) of
                {ok, #{packages := Packages}} -> {ok, with_lock(Packages, Lock)};
                {error, _} = Error -> Error
            end;
        {error, Reason} ->
            {error, {unwritable, #{path => Place, reason => Reason}}}
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
