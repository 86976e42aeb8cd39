%%% @doc Loads and unloads the object code of whole applications, and compares what is loaded with a
%%% manifest.
%%%
%%% Everything that can fail for want of good files happens in `prepare/1', before anything is
%%% stopped. Code paths are added at the end of the path, never in front of the host's. All modules
%%% are loaded explicitly: a release runs in embedded mode and loads nothing by itself.
-module(bc_gitops_code).

-include_lib("kernel/include/logger.hrl").

-export([prepare/1, replace/3, unload/2, verify/1, verify_current/1, leftovers/1, delete_path/1]).

-import(bc_gitops_steps, [steps/1]).

-export_type([lib/0, prepared/0, md5/0]).

-type md5() :: <<_:128>>.
-type lib() :: #{
    name := atom(), version := binary(), path := binary(), modules := #{module() => md5()},
    on_host => true,          % the files are the host's own
    formerly => [binary()]    % where unchanged modules were loaded from, before a hot upgrade
}.
-opaque prepared() :: #{atomic := code:prepared_code(), on_load := [object()]}.
-type change() :: #{app := atom(), gone := [module()], coming := [module()],
                    dirs := [file:filename_all()]}.
-type object() :: {module(), file:filename(), binary()}.
-type failure() :: {error, {Kind :: atom(), map()}}.

%% Rounds of waiting, 10 ms each, for processes that are just leaving a module which goes away.
-define(LEAVE_ROUNDS, 20).
-define(LEAVE_INTERVAL, 10).

%% @doc Reads every module of the libraries, compares it with its MD5 in the manifest and prepares
%% it for loading. Changes nothing in the running system.
-spec prepare([lib()]) -> {ok, prepared()} | failure().
prepare(Libs) ->
    case read_objects(Libs) of
        {ok, Objects} -> prepare_objects(Objects);
        {error, _} = Error -> Error
    end.

read_objects(Libs) ->
    Wanted = [{Module, MD5, file(Path, Module)}
              || #{path := Path, modules := Modules} <- Libs,
                 {Module, MD5} <- maps:to_list(Modules)],
    read_objects(Wanted, []).

read_objects([], Objects) ->
    {ok, Objects};
read_objects([{Module, MD5, File} | Rest], Objects) ->
    case file:read_file(File) of
        {ok, Code} ->
            case code:module_md5(Code) of
                MD5 -> read_objects(Rest, [{Module, File, Code} | Objects]);
                Found -> damaged(Module, File, #{expected => hex(MD5), found => hex(Found)})
            end;
        {error, Reason} ->
            damaged(Module, File, #{reason => Reason})
    end.

damaged(Module, File, Details) ->
    Name = unicode:characters_to_binary(File),
    {error, {build_damaged, Details#{module => Module, file => Name}}}.

hex(MD5) when is_binary(MD5) ->
    << <<(hd(integer_to_list(N, 16)))>> || <<N:4>> <= MD5 >>;
hex(Other) ->
    Other.

file(Path, Module) ->
    filename:join([unicode:characters_to_list(Path), "ebin", atom_to_list(Module) ++ ".beam"]).

prepare_objects(Objects) ->
    case code:prepare_loading(Objects) of
        {ok, Atomic} ->
            {ok, #{atomic => Atomic, on_load => []}};
        {error, Refused} ->
            OnLoad = [Module || {Module, on_load_not_allowed} <- Refused],
            case [R || {_, Why} = R <- Refused, Why =/= on_load_not_allowed] of
                [] -> prepare_apart(Objects, OnLoad);
                Bad -> {error, {code_refused, #{modules => Bad}}}
            end
    end.

prepare_apart(Objects, OnLoad) ->
    IsLast = fun({Module, _, _}) -> lists:member(Module, OnLoad) end,
    {Last, First} = lists:partition(IsLast, Objects),
    case code:prepare_loading(First) of
        {ok, Atomic} -> {ok, #{atomic => Atomic, on_load => Last}};
        {error, Refused} -> {error, {code_refused, #{modules => Refused}}}
    end.

%% @doc Loads what was prepared in place of the modules that go: everything at once, then, with their
%% application's directories at the end of the code path, the modules with an `-on_load' function, which
%% may call the others and look for files. In this order nobody's call makes the code server load a module
%% from its path before. What is in both is never missing in between: whoever called a module that is not
%% loaded would have the code server look for it in every directory of the path, and enough callers leave
%% it no time for us. Those with `-on_load' are: a library of a NIF is not loaded over another one.
-spec replace(prepared(), change(), timeout()) -> ok | failure().
replace(#{atomic := Atomic, on_load := OnLoad}, Change, Timeout) ->
    #{app := App, gone := Gone, coming := Coming, dirs := Dirs} = Change,
    steps([
        fun() -> purge_old(App, Gone ++ Coming) end,
        fun() -> unload(App, [Module || {Module, _, _} <- OnLoad]) end,
        fun() -> finish(Atomic) end,
        fun() -> unload(App, Gone -- Coming) end,
        fun() -> purge_old(App, Coming) end,
        fun() -> add_paths(Dirs) end,
        fun() -> load_on_load(OnLoad, Timeout) end
    ]).

finish(Atomic) ->
    case code:finish_loading(Atomic) of
        ok -> ok;
        {error, Refused} -> {error, {load_failed, #{modules => Refused}}}
    end.

add_paths([]) ->
    ok;
add_paths([Dir | Rest]) ->
    case code:add_pathz(ebin(Dir)) of
        true -> add_paths(Rest);
        {error, Reason} -> {error, {bad_path, #{path => Dir, reason => Reason}}}
    end.

load_on_load([], _Timeout) ->
    ok;
load_on_load([{Module, File, Code} | Rest], Timeout) ->
    Load = fun() -> code:load_binary(Module, File, Code) end,
    case bc_gitops_app_control:with_deadline(Load, Timeout, #{module => Module}) of
        {ok, {module, Module}} ->
            load_on_load(Rest, Timeout);
        {ok, {error, Reason}} ->
            {error, {load_failed, #{modules => [{Module, Reason}]}}};
        {error, {timeout, _}} ->
            kill_on_load(Module),
            {error, {load_failed, #{modules => [{Module, on_load_timeout}]}}};
        {error, _} = Error ->
            Error
    end.

%% The code server runs on_load functions in processes of its own and accepts nothing for the module
%% before they end.
kill_on_load(Module) ->
    lists:foreach(
        fun(Pid) ->
            case process_info(Pid, current_stacktrace) of
                {current_stacktrace, Stack} ->
                    Inside = lists:any(fun({M, _, _, _}) -> M =:= Module end, Stack),
                    Inside andalso exit(Pid, kill);
                undefined ->
                    false
            end
        end,
        processes()
    ).

%% @doc Removes modules from the VM. Their application has been stopped. A process that still runs
%% one gets a moment to leave it; one that stays, or keeps a fun of it, is killed, as every purge
%% does, and named in the log. One that the node cannot do without is not: then it is an error.
-spec unload(atom(), [module()]) -> ok | failure().
unload(App, Modules) ->
    Loaded = leftovers(Modules),
    case purge(App, Loaded) of
        ok ->
            _ = [code:delete(Module) || Module <- Loaded, erlang:module_loaded(Module)],
            and_gone(App, purge(App, Loaded), Modules);
        {error, _} = Error ->
            Error
    end.

and_gone(App, ok, Modules) ->
    case leftovers(Modules) of
        [] -> ok;
        Left -> {error, {code_left, #{app => App, modules => Left}}}
    end;
and_gone(_App, {error, _} = Error, _Modules) ->
    Error.

purge_old(App, Modules) ->
    purge(App, lists:usort([Module || Module <- Modules, erlang:check_old_code(Module)])).

purge(App, Modules) ->
    case soft_purge(Modules, ?LEAVE_ROUNDS) of
        [] ->
            ok;
        Held ->
            Holders = [Pid || Pid <- processes(), Pid =/= self(), holds(Pid, Held)],
            case [Pid || Pid <- Holders, bc_gitops_host:is_vital(Pid)] of
                [] ->
                    report_killed(App, Holders, Held),
                    lists:foreach(fun code:purge/1, Held);
                Vital ->
                    {error, {code_in_use, #{app => App, modules => Held,
                                            processes => [describe(Pid) || Pid <- Vital]}}}
            end
    end.

soft_purge(Modules, Rounds) ->
    Old = [Module || Module <- Modules, erlang:check_old_code(Module)],
    Held = [Module || Module <- Old, not code:soft_purge(Module)],
    case Held =:= [] orelse Rounds =:= 0 of
        true ->
            Held;
        false ->
            %% Nothing tells when a process leaves a module, so this has to ask again.
            receive after ?LEAVE_INTERVAL -> soft_purge(Held, Rounds - 1) end
    end.

holds(Pid, Modules) ->
    lists:any(fun(Module) -> erlang:check_process_code(Pid, Module) =:= true end, Modules).

report_killed(App, Holders, Modules) ->
    ?LOG_WARNING("~p: ending ~b processes that still use its old code (~ts)",
                 [App, length(Holders), bc_gitops_words:names([name(Pid) || Pid <- Holders])],
                 #{application => bc_gitops, app => App, modules => Modules,
                   processes => [describe(Pid) || Pid <- Holders]}).

name(Pid) ->
    case process_info(Pid, registered_name) of
        {registered_name, Name} -> Name;
        _ -> Pid
    end.

describe(Pid) ->
    case process_info(Pid, [registered_name, current_function, initial_call]) of
        undefined -> {Pid, gone};
        Info -> {Pid, Info}
    end.

%% @doc Compares what is loaded with the manifests: modules that are missing, differ, or have old code.
-spec verify([#{modules := #{module() => md5()}, _ => _}]) -> ok | failure().
verify(Libs) ->
    verify(Libs, fun old_code/1).

%% @doc The same for code that changed while it ran: a process may be busy in its old code yet.
-spec verify_current([#{modules := #{module() => md5()}, _ => _}]) -> ok | failure().
verify_current(Libs) ->
    verify(Libs, fun(_Module) -> ok end).

verify(Libs, Old) ->
    Wrong = [{Module, State}
             || #{modules := Modules} <- Libs,
                {Module, MD5} <- maps:to_list(Modules),
                State <- [state(Module, MD5, Old)],
                State =/= ok],
    case Wrong of
        [] -> ok;
        _ -> {error, {code_differs, #{modules => Wrong}}}
    end.

state(Module, MD5, Old) ->
    case erlang:module_loaded(Module) andalso erlang:get_module_info(Module, md5) of
        false -> missing;
        MD5 -> Old(Module);
        Loaded -> bc_gitops_protocols:is_consolidated(Module, MD5, Loaded)
    end.

old_code(Module) ->
    case erlang:check_old_code(Module) of
        true -> old_code;
        false -> ok
    end.

%% @doc Which of the modules are in the VM still, as current or old code.
-spec leftovers([module()]) -> [module()].
leftovers(Modules) ->
    [Module || Module <- Modules,
               erlang:module_loaded(Module) orelse erlang:check_old_code(Module)].

%% @doc Takes the ebin directory of an application off the code path.
-spec delete_path(file:filename_all()) -> ok.
delete_path(Path) ->
    _ = code:del_path(ebin(Path)),
    ok.

ebin(Path) ->
    filename:join(unicode:characters_to_list(Path), "ebin").
