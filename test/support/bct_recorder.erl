%%% @doc A runtime that does nothing but tell its observer what it is asked for, and answers as scripted.
%%%
%%% Each call is sent to the observer as `{runtime, Callback, Name, Version}'. A script for a callback of
%%% an app is a list of answers, one per call; without one (or past its end) calls succeed:
%%%   ok                   succeed
%%%   {error, Reason}      fail; what runs stays as it is
%%%   {failed, Reason}     fail, and nothing runs any more
%%%   wait                 send `{runtime_waits, Pid, Callback, Name}' and do what `go/2' says
%%%   hang                 never answer
%%%   crash                raise
-module(bct_recorder).
-behaviour(bc_gitops_runtime).

-include("bc_gitops.hrl").

-export([start/0, stop/0, script/3, go/2, kill_app/1, running/0]).
-export([deploy/1, remove/1, upgrade/2, reconfigure/1, prepare/1, restore/2, get_current_state/0]).
-export([call/4]).

-define(TABLE, bct_recorder_table).

%% @doc The caller observes. The table is owned by a process of its own, as apps outlive what calls them.
start() ->
    Observer = self(),
    Owner = spawn(fun() ->
        ?TABLE = ets:new(?TABLE, [named_table, public]),
        Observer ! {self(), ready},
        receive stop -> ok end
    end),
    receive {Owner, ready} -> ok end,
    true = ets:insert(?TABLE, [{owner, Owner}, {observer, Observer}]),
    ok.

stop() ->
    [{owner, Owner}] = ets:lookup(?TABLE, owner),
    [exit(Pid, kill) || {{app, _}, #app_state{pid = Pid}} <- ets:tab2list(?TABLE)],
    Monitor = monitor(process, Owner),
    Owner ! stop,
    receive {'DOWN', Monitor, process, _, _} -> ok end.

script(Callback, Name, Answers) ->
    true = ets:insert(?TABLE, {{Callback, Name}, Answers}),
    ok.

%% @doc Lets a waiting call go on with an answer.
go(Pid, Answer) ->
    Pid ! {go, Answer},
    ok.

%% @doc The app stops by itself.
kill_app(Name) ->
    [{_, #app_state{pid = Pid}}] = ets:lookup(?TABLE, {app, Name}),
    exit(Pid, kill),
    ok.

%% @doc What runs: `#{Name => Version}'.
running() ->
    maps:from_list([{Name, App#app_state.version} || {{app, Name}, App} <- ets:tab2list(?TABLE)]).

prepare(#app_spec{name = Name, version = Version}) ->
    call(prepare, Name, Version, fun() ->
        {ok, #{key => <<"key-", Version/binary>>, version => Version, revision => revision(Name, Version)}}
    end).

revision(Name, Version) ->
    case ets:lookup(?TABLE, {revision, Name}) of
        [{_, Revision}] -> Revision;
        [] -> <<"revision-", Version/binary>>
    end.

deploy(#app_spec{name = Name, version = Version} = Spec) ->
    call(deploy, Name, Version, fun() -> start_app(Spec) end).

upgrade(#app_spec{name = Name, version = Version} = Spec, _OldVersion) ->
    call(upgrade, Name, Version, fun() -> start_app(Spec) end).

reconfigure(#app_spec{name = Name, version = Version} = Spec) ->
    call(reconfigure, Name, Version, fun() -> start_app(Spec) end).

restore(#app_spec{name = Name, version = Version} = Spec, _Key) ->
    call(restore, Name, Version, fun() ->
        case ets:lookup(?TABLE, {app, Name}) of
            [{_, #app_state{version = Version, pid = Pid} = App}] ->
                case is_process_alive(Pid) of
                    true -> {ok, App};
                    false -> start_app(Spec)
                end;
            _ ->
                start_app(Spec)
        end
    end).

remove(Name) ->
    call(remove, Name, undefined, fun() -> stop_app(Name) end).

get_current_state() ->
    Apps = [{Name, seen(App)} || {{app, Name}, App} <- ets:tab2list(?TABLE)],
    {ok, maps:from_list(Apps)}.

seen(#app_state{pid = Pid} = App) ->
    case is_process_alive(Pid) of
        true -> App;
        false -> App#app_state{status = stopped}
    end.

call(Callback, Name, Version, Succeed) ->
    [{observer, Observer}] = ets:lookup(?TABLE, observer),
    Observer ! {runtime, Callback, Name, Version},
    answer(next(Callback, Name), Callback, Name, Observer, Succeed).

next(Callback, Name) ->
    case ets:lookup(?TABLE, {Callback, Name}) of
        [{Key, [Answer | Rest]}] -> true = ets:insert(?TABLE, {Key, Rest}), Answer;
        _ -> ok
    end.

answer(ok, _Callback, _Name, _Observer, Succeed) ->
    Succeed();
answer({failed, Reason}, _Callback, Name, _Observer, _Succeed) ->
    ok = stop_app(Name),
    {error, Reason};
answer({error, Reason}, _Callback, _Name, _Observer, _Succeed) ->
    {error, Reason};
answer(hang, _Callback, _Name, _Observer, _Succeed) ->
    receive never -> ok end;
answer(crash, _Callback, _Name, _Observer, _Succeed) ->
    error(boom);
answer(wait, Callback, Name, Observer, Succeed) ->
    Observer ! {runtime_waits, self(), Callback, Name},
    receive {go, Answer} -> answer(Answer, Callback, Name, Observer, Succeed) end.

start_app(#app_spec{name = Name, version = Version, env = Env}) ->
    ok = stop_app(Name),
    Pid = spawn(fun() -> receive stop -> ok end end),
    App = #app_state{name = Name, version = Version, status = running, env = Env, pid = Pid},
    true = ets:insert(?TABLE, {{app, Name}, App}),
    {ok, App}.

stop_app(Name) ->
    case ets:lookup(?TABLE, {app, Name}) of
        [{_, #app_state{pid = Pid}}] -> exit(Pid, kill);
        [] -> ok
    end,
    true = ets:delete(?TABLE, {app, Name}),
    ok.
