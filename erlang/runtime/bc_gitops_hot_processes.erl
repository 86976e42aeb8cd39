%%% @doc Finds the processes that run given modules as their callbacks: through the supervision trees
%%% of all applications, as OTP's release_handler does, and by what each process was started with,
%%% which finds those that no child specification describes.
%%%
%%% Nothing here waits for long: a supervisor that does not answer (it is suspended, or waits in the
%%% start of a child) is named instead.
-module(bc_gitops_hot_processes).

-export([find/2, initial/1, using/1, describe/1]).

-export_type([found/0]).

%% For each process those of the modules that it runs, the one it was started with alone where that
%% is among them.
-type found() :: #{pid() => #{modules := [module()], kind := bc_gitops_hot_sys:kind()}}.

%% @doc The processes, and supervisors that did not answer in time.
-spec find([module()], timeout()) -> {found(), Silent :: [pid()]}.
find([], _Timeout) ->
    {#{}, []};
find(Modules, Timeout) ->
    {Children, Silent} = walk(roots(), Timeout, #{}, []),
    All = [{Pid, initial(Pid)} || Pid <- processes(), Pid =/= self()],
    Managers = [Pid || {Pid, gen_event} <- All],
    Dynamic = [Pid || {Pid, dynamic} <- maps:to_list(Children)],
    Asked = bc_gitops_hot_sys:modules(lists:usort(Managers ++ Dynamic), Timeout),
    Told = maps:from_list([{Pid, Told} || {Pid, {ok, Told}} <- Asked, is_list(Told)]),
    Listed = maps:merge(maps:filter(fun(_, Listed) -> is_list(Listed) end, Children), Told),
    {maps:from_list([Found || {Pid, Initial} <- All,
                              Found <- found(Pid, Initial, maps:get(Pid, Listed, []), Modules)]),
     Silent}.

found(Pid, gen_event, Listed, Modules) ->
    [{Pid, #{modules => Here, kind => gen_event}} || Here <- [among(Listed, Modules)], Here =/= []];
found(Pid, Initial, Listed, Modules) ->
    Here = case lists:member(Initial, Modules) of
        true -> [Initial];
        false -> among(Listed, Modules)
    end,
    [{Pid, #{modules => Here, kind => other}} || Here =/= []].

among(Listed, Modules) ->
    [Module || Module <- Modules, lists:member(Module, Listed)].

%% Applications that are just starting have no root yet.
roots() ->
    [Root || {App, _, _} <- application:loaded_applications(),
             Root <- [bc_gitops_app_control:root(App)],
             is_pid(Root), initial_call(Root) =:= supervisor].

walk([], _Timeout, Children, Silent) ->
    {Children, Silent};
walk(Supervisors, Timeout, Children, Silent) ->
    Answers = bc_gitops_hot_sys:children(Supervisors, Timeout),
    Listed = [{Pid, Type, Modules} || {_, {ok, Answer}} <- Answers, is_list(Answer),
                                      {_Id, Pid, Type, Modules} <- Answer, is_pid(Pid)],
    Seen = maps:merge(Children, maps:from_list([{Pid, Modules} || {Pid, _, Modules} <- Listed])),
    Next = [Pid || {Pid, supervisor, _} <- Listed, not is_map_key(Pid, Children)],
    walk(Next, Timeout, Seen, [Pid || {Pid, silent} <- Answers] ++ Silent).

%% @doc The callback module that a process was started with, `gen_event' for a manager of handlers,
%% `undefined' where it does not say.
-spec initial(pid()) -> module() | undefined.
initial(Pid) ->
    case initial_mfa(Pid) of
        {supervisor, Module, _} -> Module;
        {Module, _, _} -> Module;
        _ -> undefined
    end.

initial_call(Pid) ->
    case initial_mfa(Pid) of
        {Module, _, _} -> Module;
        _ -> undefined
    end.

initial_mfa(Pid) ->
    case process_info(Pid, dictionary) of
        {dictionary, Dictionary} ->
            case lists:keyfind('$initial_call', 1, Dictionary) of
                {_, Initial} -> Initial;
                false -> undefined
            end;
        undefined ->
            undefined
    end.

%% @doc The processes that run old code of one of the modules, each with what it runs.
-spec using([module()]) -> [{pid(), #{atom() => term()}}].
using(Modules) ->
    [{Pid, (describe(Pid))#{modules => Runs}}
     || Pid <- processes(), Pid =/= self(),
        Runs <- [[M || M <- Modules, erlang:check_process_code(Pid, M) =:= true]],
        Runs =/= []].

%% @doc What an operator wants to know of a process.
-spec describe(pid()) -> #{atom() => term()}.
describe(Pid) ->
    case process_info(Pid, [registered_name, current_function]) of
        undefined ->
            #{};
        Info ->
            {M, F, A} = proc_lib:translate_initial_call(Pid),
            Known = maps:from_list([Pair || {_, Value} = Pair <- Info, Value =/= []]),
            Known#{initial_call => {M, F, A}}
    end.
