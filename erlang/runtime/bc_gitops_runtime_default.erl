%%% @doc The embedded runtime: managed applications run in this VM.
%%%
%%% Fetching and building happen in the caller's process and can be cancelled by killing it; what
%%% is switched is switched in a process of its own (see bc_gitops_switches). What it answers about
%%% an application is read from a table, from the application controller's table and from the
%%% liveness of processes, so that no hanging application delays it.
-module(bc_gitops_runtime_default).
-behaviour(bc_gitops_runtime).

-include("bc_gitops.hrl").
-include_lib("kernel/include/logger.hrl").

-export([deploy/1, remove/1, upgrade/2, reconfigure/1, get_current_state/0, prepare/1, prepare/2,
         restore/2]).

-type failure() :: {error, {Kind :: atom(), Details :: term()}}.

%% Answers of the application controller for which no application's code runs.
-define(CONTROLLER_TIMEOUT, 5000).

%% @doc Fetches and builds what the spec says. Stops and starts nothing.
-spec prepare(#app_spec{}) -> {ok, bc_gitops_runtime:prepared()} | failure().
prepare(Spec) ->
    prepare(Spec, #{}).

%% @doc The same with the lock of a former time.
-spec prepare(#app_spec{}, bc_gitops_runtime:options()) ->
    {ok, bc_gitops_runtime:prepared()} | failure().
prepare(Given, Options) ->
    Spec = bc_gitops_runtime:spec(Given),
    case is_possible(Spec) of
        ok -> summary(bc_gitops_runtime_builds:prepare(Spec, Options));
        {error, _} = Error -> Error
    end.

summary({ok, Build}) ->
    {ok, maps:with([revision, key, version, lock], Build)};
summary({error, _} = Error) ->
    Error.

%% @doc Makes the application run as the spec says; what runs of it already is replaced.
-spec deploy(#app_spec{}) -> {ok, #app_state{}} | failure().
deploy(Given) ->
    Spec = bc_gitops_runtime:spec(Given),
    case is_possible(Spec) of
        ok -> switch_to(Spec, bc_gitops_runtime_builds:find(Spec));
        {error, _} = Error -> Error
    end.

%% @doc Replaces the version that runs. On any failure it runs again:
%% `{error, {rolled_back, #{running, reason, gap_ms}}}'.
-spec upgrade(#app_spec{}, OldVersion :: binary()) -> {ok, #app_state{}} | failure().
upgrade(Spec, _OldVersion) ->
    deploy(Spec).

switch_to(#app_spec{name = Name} = Spec, {ok, Build}) ->
    Timeouts = timeouts(),
    Switch = fun(Proceed) -> bc_gitops_switch:to(Spec, Build, Timeouts, Proceed) end,
    From = version(Name),
    case bc_gitops_switches:run(Name, Switch) of
        {ok, Entry} ->
            State = state(Entry),
            log(notice, Spec, "~p ~ts runs (~ts~ts)",
                [Name, State#app_state.version, from(From), how(State#app_state.details)]),
            {ok, State};
        {error, Reason} = Error ->
            %% whoever asked says what failed
            log(debug, Spec, "~p did not get to ~ts (~ts): ~0tP",
                [Name, Spec#app_spec.version, from(From), Reason, 40]),
            Error
    end;
switch_to(_Spec, {error, _} = Error) ->
    Error.

from(undefined) -> <<"new">>;
from(Version) -> <<"from ", Version/binary>>.

how(Details) ->
    case bc_gitops_hot_switch:describe(Details) of
        <<>> -> "";
        Said -> ["; ", Said]
    end.

version(Name) ->
    case bc_gitops_runtime_table:find(Name) of
        {ok, #{build := #{version := Version}}} -> Version;
        not_found -> undefined
    end.

%% @doc Stops and removes the application, and what only it needed. One that is unknown is removed.
-spec remove(atom()) -> ok | failure().
remove(Name) when is_atom(Name) ->
    Timeouts = timeouts(),
    case bc_gitops_switches:run(Name, fun(_Proceed) -> bc_gitops_switch:away(Name, Timeouts) end) of
        ok ->
            ?LOG_NOTICE("~p is removed", [Name], #{application => bc_gitops, app => Name});
        {error, Reason} = Error ->
            ?LOG_DEBUG("~p could not be removed: ~0tP", [Name, Reason, 40],
                       #{application => bc_gitops, app => Name}),
            Error
    end.

%% @doc Changes the environment of the running application and tells it by `config_change/3'. The
%% state's `details' say whether it was told: `#{reconfigured => notified | not_notified}'. When it
%% refuses or does not answer in time, the old environment is put back.
-spec reconfigure(#app_spec{}) -> {ok, #app_state{}} | failure().
reconfigure(Given) ->
    #app_spec{name = Name} = Spec = bc_gitops_runtime:spec(Given),
    case is_possible(Spec) of
        ok ->
            bc_gitops_switches:run(Name, fun(_Proceed) -> reconfigure_known(Spec) end);
        {error, _} = Error ->
            Error
    end.

reconfigure_known(#app_spec{name = Name} = Spec) ->
    case bc_gitops_runtime_table:find(Name) of
        {ok, Entry} -> change_env(Spec, Entry);
        not_found -> {error, {not_deployed, #{app => Name}}}
    end.

change_env(#app_spec{name = Name, env = Env} = Spec, Entry) ->
    #{base_env := Base, details := Details} = Entry,
    Old = bc_gitops_app_env:all(Name),
    New = maps:merge(Base, Env),
    #{start := Timeout} = timeouts(),
    case bc_gitops_app_env:put_back(Name, New, ?CONTROLLER_TIMEOUT) of
        ok ->
            case bc_gitops_app_env:notify(Name, bc_gitops_app_env:changes(Old, New), Timeout) of
                {error, Reason} ->
                    _ = bc_gitops_app_env:put_back(Name, Old, ?CONTROLLER_TIMEOUT),
                    log(debug, Spec, "~p did not take its new environment: ~0tp", [Name, Reason]),
                    {error, Reason};
                Told ->
                    Changed = Entry#{spec := Spec, details := Details#{reconfigured => Told}},
                    ok = bc_gitops_runtime_table:put(Name, Changed, #{}),
                    log(notice, Spec, "~p has a new environment (~p)", [Name, Told]),
                    {ok, state(Changed)}
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Adopts what runs when its code is that of the build with this key, else starts it from the
%% store. Never uses the network.
-spec restore(#app_spec{}, Key :: binary()) -> {ok, #app_state{}} | failure().
restore(Given, Key) ->
    Spec = bc_gitops_runtime:spec(Given),
    case is_possible(Spec) of
        ok -> restore_possible(Spec, Key);
        {error, _} = Error -> Error
    end.

%% What runs needs no file, so that a damaged store does not take it down.
restore_possible(#app_spec{name = Name, version = Version} = Spec, Key) ->
    case bc_gitops_runtime_table:find(Name) of
        {ok, #{build := #{key := Key, version := Version, libs := Libs}} = Entry} ->
            Own = [Lib || #{name := LibName} = Lib <- Libs, LibName =:= Name],
            case bc_gitops_app_control:is_up(Name) andalso bc_gitops_code:verify_current(Own) =:= ok of
                true -> adopt(Spec, Entry);
                false -> switch_to(Spec, bc_gitops_runtime_builds:lookup(Spec, Key))
            end;
        _OtherOrNone ->
            switch_to(Spec, bc_gitops_runtime_builds:lookup(Spec, Key))
    end.

%% The environment may have changed while bc_gitops was away.
adopt(#app_spec{env = Env} = Spec, #{spec := #app_spec{env = Env}} = Entry) ->
    Adopted = Entry#{spec := Spec},
    ok = bc_gitops_runtime_table:put(Spec#app_spec.name, Adopted, #{}),
    {ok, state(Adopted)};
adopt(Spec, _Entry) ->
    reconfigure(Spec).

%% @doc What this runtime deployed, and how it is.
-spec get_current_state() -> {ok, #{atom() => #app_state{}}}.
get_current_state() ->
    Entries = bc_gitops_runtime_table:all(),
    {ok, maps:from_list([{Name, state(Entry)} || #{name := Name} = Entry <- Entries])}.

is_possible(#app_spec{isolation = embedded}) ->
    ok;
is_possible(#app_spec{name = Name, isolation = vm}) ->
    {error, {not_supported_yet, #{what => isolation_vm, app => Name}}}.

timeouts() ->
    #{stop_timeout := Stop, start_timeout := Start} = bc_gitops_config:current(),
    #{stop => Stop, start => Start}.

state(#{name := Name, spec := Spec, build := Build, root := Root} = Entry) ->
    #app_state{
        name = Name,
        version = loaded_version(Name, Build),
        description = Spec#app_spec.description,
        icon = Spec#app_spec.icon,
        status = case bc_gitops_app_control:is_up(Name) of true -> running; false -> stopped end,
        path = maps:get(path, Build),
        pid = live(Root),
        started_at = maps:get(started_at, Entry),
        env = Spec#app_spec.env,
        isolation = embedded,
        node = node(),
        os_pid = list_to_integer(os:getpid()),
        details = maps:get(details, Entry)
    }.

loaded_version(Name, #{version := Built}) ->
    case application:get_key(Name, vsn) of
        {ok, Version} -> unicode:characters_to_binary(Version);
        undefined -> Built
    end.

live(Pid) when is_pid(Pid) ->
    case is_process_alive(Pid) of
        true -> Pid;
        false -> undefined
    end;
live(undefined) ->
    undefined.

log(Level, #app_spec{name = Name, version = Version}, Format, Arguments) ->
    ?LOG(Level, Format, Arguments, #{application => bc_gitops, app => Name, version => Version}).
