%%% @doc One preparation: from what a source means now to a build that can be switched on, which is found
%%% or made.
%%%
%%% The same thing is built once, however many ask for it: who comes second waits and finds it.
-module(bc_gitops_preparation).

-include("bc_gitops.hrl").
-include_lib("kernel/include/logger.hrl").

-export([run/3]).

%% Errors of a source that cannot be asked. What it gave before is as good as then.
-define(SILENT, [unreachable, timeout, not_found, auth_failed, certificate, host_key, connection_broken,
                 tls, status]).
%% @doc In the calling process; what it does is told as it goes (see bc_gitops_build_progress).
-spec run(atom(), #source_spec{}, Options :: map()) ->
    {ok, bc_gitops_store:build()} | {error, {Kind :: atom(), Details :: map()}}.
run(Name, Source, Options) ->
    Tell = maps:get(on_progress, Options, fun(_) -> ok end),
    OnProgress = fun(Told) ->
        ok = bc_gitops_build_progress:received(Name, Told),
        Tell(Told)
    end,
    bc_gitops_build_progress:run(Name, fun() ->
        resolve(Name, Source, Options#{on_progress => OnProgress})
    end).

resolve(Name, Source, Options) ->
    ok = bc_gitops_build_progress:stage(Name, resolve),
    Known = maps:merge(lock_of_build(Name, Source, Options), Options),
    case bc_gitops_source:resolve(Source, Known) of
        {error, {Kind, _}} = Error ->
            case lists:member(Kind, ?SILENT) andalso built_before(Name, Source, Options) of
                {ok, Build} -> without_source(Name, Source, Error, Build);
                {error, Why} -> also(Why, Error);
                false -> Error
            end;
        Resolved ->
            find_or_build(Name, Source, Resolved, Known)
    end.

%% What a build of this version was locked to is in the store: going back to it takes no registry.
lock_of_build(Name, #source_spec{type = hex} = Source, #{version := Version}) ->
    Builds = bc_gitops_store:built_from(bc_gitops_workspace_server:root(), Name, Source),
    case [Lock || #{version := V, lock := Lock} <- Builds, V =:= Version] of
        [Lock | _] -> #{lock => Lock};
        [] -> #{}
    end;
lock_of_build(_Name, _Source, _Options) ->
    #{}.

%% What a ref meant when its source was last heard of; where nobody listened, what was last built.
built_before(Name, #source_spec{type = git, url = Url, ref = Ref} = Source, Options) ->
    case is_binary(Ref) andalso bc_gitops_source_watch:wanted(Url, Ref) of
        {ok, Revision} -> stored(Name, {ok, #{revision => Revision}}, Options);
        _ -> built_from(Name, Source, Options)
    end;
built_before(Name, Source, Options) ->
    built_from(Name, Source, Options).

built_from(Name, Source, Options) ->
    Version = maps:get(version, Options, undefined),
    bc_gitops_build:built_before(bc_gitops_workspace_server:root(), Name, Source, Version).

without_source(Name, Source, {error, Reason}, #{revision := Revision} = Build) ->
    ?LOG_WARNING("~s: its source does not answer (~ts); revision ~ts, which was built before, is used",
                 [Name, bc_gitops_build_error:format_error(Reason), Revision],
                 #{application => bc_gitops, app => Name}),
    remember(Name, Source, Build).

find_or_build(Name, Source, Known, Options) ->
    case stored(Name, Known, Options) of
        {ok, Build} ->
            remember(Name, Source, Build);
        {error, Why} ->
            ok = say_damaged(Name, Why),
            ok = bc_gitops_build_progress:stage(Name, wait),
            also(Why, bc_gitops_workspace_server:with({source, {Name, what(Known, Source)}}, fun() ->
                build_alone(Name, Source, Known, Options)
            end))
    end.

what({ok, #{revision := Revision}}, _Source) -> Revision;
what(unknown, Source) -> Source.

say_damaged(_Name, not_found) ->
    ok;
say_damaged(Name, {build_damaged, #{message := Message}}) ->
    ?LOG_WARNING("~s: ~ts; it is built anew", [Name, Message], #{application => bc_gitops, app => Name}).

%% Why a build was wanted at all is part of what is said of its failure.
also({build_damaged, #{message := Damage}}, {error, {Kind, Details}}) ->
    Said = bc_gitops_build_error:format_error({Kind, Details}),
    Message = unicode:characters_to_binary([Said, "; and ", Damage]),
    {error, {Kind, Details#{message => Message}}};
also(_Why, Result) ->
    Result.

%% Somebody may have built it while this process waited.
build_alone(Name, Source, Known, Options) ->
    case stored(Name, Known, Options) of
        {ok, Build} -> remember(Name, Source, Build);
        {error, _} ->
            bc_gitops_workspace_server:with(slot, fun() ->
                bc_gitops_workspace_server:with_scratch(fun(Scratch) ->
                    build(Name, Source, Known, Options, Scratch)
                end)
            end)
    end.

build(Name, #source_spec{ref = Ref} = Source, Known, Options, Scratch) ->
    Title = io_lib:format("== ~s ~ts", [Name, case Ref of undefined -> <<>>; _ -> Ref end]),
    Log = bc_gitops_build_log:open(Name, unicode:characters_to_binary(Title)),
    ok = bc_gitops_build_progress:log(Name, Log),
    Job = #{
        name => Name, source => Source, known => Known,
        version => maps:get(version, Options, undefined),
        options => Options, workspace => bc_gitops_workspace_server:root(), scratch => Scratch,
        log => Log
    },
    case bc_gitops_build:run(Job) of
        {ok, #{key := Key} = Build} ->
            {ok, _} = Done = remember(Name, Source, Build),
            ok = bc_gitops_workspace_cleaner:stored(Name, Key),
            Done;
        {error, _} = Error ->
            Error
    end.

stored(_Name, unknown, _Options) ->
    {error, not_found};
stored(Name, {ok, #{revision := Revision}}, Options) ->
    Version = maps:get(version, Options, undefined),
    bc_gitops_build:stored(bc_gitops_workspace_server:root(), Name, Revision, Version).

remember(Name, Source, Build) ->
    ok = bc_gitops_store:note_source(bc_gitops_workspace_server:root(), Build, Source),
    true = ets:insert(bc_gitops_workspace_server:table(),
                      [{{prepared, Name, Source}, Build}, {{latest, Name}, Build}]),
    {ok, Build}.
