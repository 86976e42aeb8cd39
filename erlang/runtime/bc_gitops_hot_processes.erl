%%% @doc Finds the processes that run given modules as their callbacks: through the supervision
%%% trees of all applications, as OTP's release_handler does, and by what each process was started
%%% with, which finds those that no child specification describes.
%%%
%%% Nothing here waits for long: a supervisor that does not answer (it is suspended, or waits in the
%%% start of a child) is named instead.
-module(bc_gitops_hot_processes).

-export([find/2, late/3, initial/1, using/1, describe/1]).

-export_type([found/0, search/0]).

%% For each process those of the modules that it runs, the one it was started with alone where that
%% is among them.
-type found() :: #{pid() => #{modules := [module()], kind := bc_gitops_hot_sys:kind()}}.

-type search() :: #{
    found := found(),
    starters := [pid()],                   % supervisors that may start more of them
    seen := #{pid() => true}               % was looked at, and is what it is
}.

%% @doc The processes, and supervisors that did not answer in time.
-spec find([module()], timeout()) -> {search(), Silent :: [pid()]}.
find([], _Timeout) ->
    {#{found => #{}, starters => [], seen => #{}}, []};
find(Modules, Timeout) ->
    {Families, Silent} = walk(roots(), Timeout, #{}, []),
    Children = maps:from_list([{Pid, Listed} || {_, Pid, _, Listed} <- Families, is_pid(Pid)]),
    All = [{Pid, initial(Pid)} || Pid <- processes(), Pid =/= self()],
    Found = running(All, Modules, Children, Timeout),
    Seen = maps:from_list([{Pid, true} || {Pid, Initial} <- All, Initial =/= undefined]),
    {#{found => Found, starters => starters(Modules, Families, Found), seen => Seen}, Silent}.

%% @doc Those that began since, by what they were started with.
-spec late([module()], search(), timeout()) -> found().
late(Modules, #{seen := Seen}, Timeout) ->
    New = [{Pid, initial(Pid)} || Pid <- processes(), not is_map_key(Pid, Seen), Pid =/= self()],
    running(New, Modules, #{}, Timeout).

running(All, Modules, Children, Timeout) ->
    Managers = [Pid || {Pid, gen_event} <- All],
    Dynamic = [Pid || {Pid, dynamic} <- maps:to_list(Children)],
    Asked = bc_gitops_hot_sys:modules(lists:usort(Managers ++ Dynamic), Timeout),
    Told = maps:from_list([{Pid, Told} || {Pid, {ok, Told}} <- Asked, is_list(Told)]),
    Listed = maps:merge(maps:filter(fun(_, Listed) -> is_list(Listed) end, Children), Told),
    maps:from_list([Found || {Pid, Initial} <- All,
                             Found <- found(Pid, Initial, maps:get(Pid, Listed, []), Modules)]).

%% All supervisors of the applications that the modules belong to, for what a supervisor is asked to
%% start nobody knows before; and who started one elsewhere.
starters(Modules, Families, Found) ->
    Leaders = [bc_gitops_app_control:master(App)
               || App <- lists:usort([App || M <- Modules,
                                             {ok, App} <- [application:get_application(M)]])],
    lists:usort([Supervisor || {Supervisor, Child, _, _} <- Families,
                               is_map_key(Child, Found) orelse is_led_by(Supervisor, Leaders)]).

is_led_by(Pid, Leaders) ->
    case process_info(Pid, group_leader) of
        {group_leader, Leader} -> lists:member(Leader, Leaders);
        undefined -> false
    end.

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

%% Each supervisor with each of its children, and once with itself, as it may have none yet.
walk(Supervisors, Timeout, Seen, Silent) ->
    walk(Supervisors, Timeout, Seen, Silent, []).

walk([], _Timeout, _Seen, Silent, Families) ->
    {Families, Silent};
walk(Supervisors, Timeout, Seen, Silent, Families) ->
    Answers = bc_gitops_hot_sys:children(Supervisors, Timeout),
    Here = [{Supervisor, Pid, Type, Modules}
            || {Supervisor, {ok, Answer}} <- Answers, is_list(Answer),
               {_Id, Pid, Type, Modules} <- [{self, none, self, []} | Answer]],
    Known = maps:merge(Seen, maps:from_list([{Supervisor, true} || Supervisor <- Supervisors])),
    Next = lists:usort([Pid || {_, Pid, supervisor, _} <- Here, is_pid(Pid),
                               not is_map_key(Pid, Known)]),
    Unheard = [Pid || {Pid, silent} <- Answers],
    walk(Next, Timeout, Known, Unheard ++ Silent, Here ++ Families).

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
