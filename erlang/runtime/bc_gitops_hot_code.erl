%%% @doc The code side of a hot upgrade: what can be loaded over running code, loading all of it at
%%% once, putting the former code back, comparing.
%%%
%%% Never kills a process that runs old code, unless told to.
-module(bc_gitops_hot_code).

-export([look/2, clear/2, prepare/1, load/3, restore/1, sweep/1, lingering/1, verify/1]).
-export([object/1, objects/1, md5/1, vsn/1]).

-export_type([object/0, set/0]).

-type object() :: {file:filename(), binary()}.
%% What brings modules back to where they were.
-type set() :: #{prepared := code:prepared_code() | none, objects := #{module() => object()},
                 absent := [module()]}.
-type failure() :: {error, {Kind :: atom(), map()}}.

%% Rounds of waiting, 10 ms each, for processes that are just leaving a module.
-define(LEAVE_ROUNDS, 20).
-define(LEAVE_INTERVAL, 10).

%%% Before anything changes

%% @doc Whether the modules can be replaced in the running VM by these objects at all.
-spec look([module()], #{module() => object()}) -> ok | failure().
look(Modules, New) ->
    case [{M, Why} || M <- Modules, Why <- [obstacle(M, New)], Why =/= none] of
        [] -> ok;
        Refused -> {error, {not_hot, #{modules => Refused}}}
    end.

obstacle(Module, New) ->
    Loaded = code:which(Module),
    case code:is_sticky(Module) of
        _ when Loaded =:= preloaded -> preloaded;
        true -> sticky;
        false when Loaded =:= cover_compiled -> cover_compiled;
        false -> native(Module, New)
    end.

native(Module, New) ->
    case has_natives(Module) orelse loads_natives(Module, New) of
        true -> nif;
        false -> none
    end.

has_natives(Module) ->
    erlang:module_loaded(Module) andalso erlang:get_module_info(Module, nifs) =/= [].

loads_natives(Module, New) ->
    case New of
        #{Module := {_, Code}} ->
            case beam_lib:chunks(Code, [imports]) of
                {ok, {_, [{imports, Imports}]}} -> lists:member({erlang, load_nif, 2}, Imports);
                {error, beam_lib, _} -> false
            end;
        #{} ->
            false
    end.

%% @doc Removes what is left of code that was replaced earlier. `later' when processes run it still;
%% with Force these are ended.
-spec clear([module()], Force :: boolean()) -> ok | {later, [module()]}.
clear(Modules, Force) ->
    case leave(Modules, ?LEAVE_ROUNDS) of
        [] -> ok;
        Held when Force -> lists:foreach(fun code:purge/1, Held);
        Held -> {later, Held}
    end.

%% Nothing tells when a process leaves a module, so this has to ask again.
leave(Modules, Rounds) ->
    case lingering(Modules) of
        [] -> [];
        Held when Rounds =:= 0 -> Held;
        Held -> receive after ?LEAVE_INTERVAL -> leave(Held, Rounds - 1) end
    end.

%% @doc Soft purges; the modules whose old code is in use.
-spec lingering([module()]) -> [module()].
lingering(Modules) ->
    [M || M <- Modules, erlang:check_old_code(M), not code:soft_purge(M)].

%% @doc The same, with patience for those that are just leaving.
-spec sweep([module()]) -> [module()].
sweep(Modules) ->
    leave(Modules, ?LEAVE_ROUNDS).

%% @doc Everything that loading needs and that may fail.
-spec prepare(#{module() => object()}) -> {ok, code:prepared_code() | none} | failure().
prepare(Objects) when map_size(Objects) =:= 0 ->
    {ok, none};
prepare(Objects) ->
    case code:prepare_loading([{M, File, Code} || {M, {File, Code}} <- maps:to_list(Objects)]) of
        {ok, Prepared} ->
            {ok, Prepared};
        {error, Refused} ->
            case [{M, on_load} || {M, on_load_not_allowed} <- Refused] of
                [] -> {error, {code_refused, #{modules => Refused}}};
                OnLoad -> {error, {not_hot, #{modules => OnLoad}}}
            end
    end.

%%% Loading

%% @doc Loads everything at once, and takes away what is not to be there. No old code of these
%% modules may be left.
-spec load(code:prepared_code() | none, [{module(), binary()}], Gone :: [module()]) ->
    ok | failure().
load(Prepared, Expected, Gone) ->
    case finish(Prepared) of
        ok ->
            lists:foreach(fun code:delete/1, Gone),
            verify([{M, code:module_md5(Code)} || {M, Code} <- Expected]);
        {error, Refused} ->
            {error, {load_failed, #{modules => Refused}}}
    end.

finish(none) -> ok;
finish(Prepared) -> code:finish_loading(Prepared).

%% @doc Compares what is loaded with the MD5s.
-spec verify([{module(), binary()}]) -> ok | failure().
verify(Expected) ->
    case [{M, different} || {M, MD5} <- Expected, md5(M) =/= {ok, MD5}] of
        [] -> ok;
        Wrong -> {error, {code_differs, #{modules => Wrong}}}
    end.

%% @doc Puts modules back. Those that are as they were already are left alone.
-spec restore(set()) -> ok | failure().
restore(#{prepared := Prepared, objects := Objects, absent := Absent}) ->
    Back = [M || {M, {_, Code}} <- maps:to_list(Objects), md5(M) =/= {ok, code:module_md5(Code)}],
    Gone = [M || M <- Absent, erlang:module_loaded(M)],
    case {Back, leave(Back ++ Gone, ?LEAVE_ROUNDS)} of
        {[], []} -> delete(Gone);
        {_, []} when length(Back) =:= map_size(Objects) -> put_back(Prepared, Gone);
        {_, []} -> put_back_some(maps:with(Back, Objects), Gone);
        {_, Held} -> {error, {code_in_use, #{modules => Held, processes => using(Held)}}}
    end.

put_back(Prepared, Gone) ->
    case finish(Prepared) of
        ok -> delete(Gone);
        {error, Refused} -> {error, {load_failed, #{modules => Refused}}}
    end.

put_back_some(Objects, Gone) ->
    case prepare(Objects) of
        {ok, Prepared} -> put_back(Prepared, Gone);
        {error, _} = Error -> Error
    end.

delete(Modules) ->
    lists:foreach(fun code:delete/1, Modules),
    _ = leave(Modules, ?LEAVE_ROUNDS),
    ok.

using(Modules) ->
    [{Pid, maps:to_list(What)} || {Pid, What} <- bc_gitops_hot_processes:using(Modules)].

%%% Objects

%% @doc The object code in a file.
-spec object(file:filename()) -> {ok, object()} | failure().
object(File) ->
    case file:read_file(File) of
        {ok, Code} -> {ok, {File, Code}};
        {error, Reason} -> {error, {object_not_read, #{file => File, reason => Reason}}}
    end.

%% @doc Those of several modules, each from its file.
-spec objects([{module(), file:filename()}]) -> {ok, #{module() => object()}} | failure().
objects(Files) ->
    lists:foldl(
        fun
            ({Module, File}, {ok, Read}) ->
                case object(File) of
                    {ok, Object} -> {ok, Read#{Module => Object}};
                    {error, _} = Error -> Error
                end;
            (_, Error) ->
                Error
        end,
        {ok, #{}},
        Files
    ).

%% @doc The MD5 of the code that is loaded.
-spec md5(module()) -> {ok, binary()} | not_loaded.
md5(Module) ->
    case erlang:module_loaded(Module) of
        true -> {ok, erlang:get_module_info(Module, md5)};
        false -> not_loaded
    end.

%% @doc The `-vsn' of object code as `code_change' is given it.
-spec vsn(object()) -> term().
vsn({_File, Code}) ->
    case beam_lib:version(Code) of
        {ok, {_, [Vsn]}} -> Vsn;
        {ok, {_, Vsn}} -> Vsn;
        {error, beam_lib, _} -> undefined
    end.
