%%% @doc What everybody may read at any time: ETS tables that no busy process stands in front of.
%%%
%%% The tables belong to the root supervisor, so that they outlive the processes that write them:
%%% the reconciler writes what concerns the repository, each managed app its own rows.
-module(bc_gitops_registry).

-include("bc_gitops.hrl").

-export([create/0, clear/0]).
%% what concerns the repository
-export([put/2, get/2, delete/1]).
%% managed apps
-export([put_app/3, mark_failed/1, delete_app/1, app/1, rows/0, states/0, healthy_count/0]).
-export([failures/0, details/1, current_details/0, spec/1]).

-export_type([row/0, app_state_name/0]).

-type app_state_name() ::
    pending | preparing | ready | switching | verifying | running
    | backing_off | quarantined | suspended | removing | failed.
%% What a cycle needs of an app, small enough to be read for all of them at once.
-type row() :: #{
    name := atom(),
    pid := pid(),
    state := app_state_name(),
    health := healthy | unhealthy | unknown,
    current := tuple() | undefined,          % as bc_gitops_native:plan/3 takes it, when it is here
    watch := {Url :: binary(), Ref :: binary(), Revision :: binary()} | undefined,
    pinned := binary() | undefined           % the commit until which a manual upgrade holds
}.

-define(REPO, bc_gitops_registry_repo).
-define(APPS, bc_gitops_registry_apps).
-define(DETAILS, bc_gitops_registry_details).
%% A read stays short, however many apps fail.
-define(SHOWN, 100).

%% @doc Makes the tables; the caller owns them.
-spec create() -> ok.
create() ->
    lists:foreach(
        fun(Table) ->
            Table = ets:new(Table, [named_table, public, set, {read_concurrency, true}])
        end,
        [?REPO, ?APPS, ?DETAILS]
    ).

%% @doc Forgets everything (a reconciler was stopped).
-spec clear() -> ok.
clear() ->
    lists:foreach(fun ets:delete_all_objects/1, [?REPO, ?APPS, ?DETAILS]).

-spec delete(Key :: atom()) -> ok.
delete(Key) ->
    true = ets:delete(?REPO, Key),
    ok.

-spec put(Key :: atom(), term()) -> ok.
put(Key, Value) ->
    true = ets:insert(?REPO, {Key, Value}),
    ok.

%% @doc The value of Key; Default when there is none, or when the application is not started.
-spec get(Key :: atom(), Default) -> term() | Default.
get(Key, Default) ->
    case lookup(?REPO, Key) of
        [{Key, Value}] -> Value;
        [] -> Default
    end.

%% @doc Writes an app's row and what `get_app_status/1' answers for it.
-spec put_app(row(), #app_state{}, #app_spec{} | undefined) -> ok.
put_app(#{name := Name, pid := Pid, state := State, health := Health} = Row, AppState, Spec) ->
    #{current := Current, watch := Watch, pinned := Pinned} = Row,
    true = ets:insert(?DETAILS, {Name, AppState, Spec}),
    true = ets:insert(?APPS, {Name, Pid, State, Health, Current, Watch, Pinned}),
    ok.

%% @doc Says that an app's process is gone without a word.
-spec mark_failed(atom()) -> ok.
mark_failed(Name) ->
    _ = ets:update_element(?APPS, Name, {3, failed}),
    ok.

-spec delete_app(atom()) -> ok.
delete_app(Name) ->
    true = ets:delete(?APPS, Name),
    true = ets:delete(?DETAILS, Name),
    ok.

-spec app(atom()) -> {ok, row()} | {error, not_found}.
app(Name) ->
    case lookup(?APPS, Name) of
        [Tuple] -> {ok, to_row(Tuple)};
        [] -> {error, not_found}
    end.

%% @doc All rows, as tuples `{Name, Pid, State, Health, Current, Watch, Pinned}'.
-spec rows() -> [tuple()].
rows() ->
    ets:tab2list(?APPS).

%% @doc State and health of every app that is here or is to come.
-spec states() -> [{app_state_name(), healthy | unhealthy | unknown}].
states() ->
    case ets:whereis(?APPS) of
        undefined -> [];
        Table -> ets:select(Table, [{{'_', '_', '$1', '$2', '_', '_', '_'}, [], [{{'$1', '$2'}}]}])
    end.

%% @doc How many apps run and are not known to be ill, whatever is tried with them meanwhile: an old
%% version that stayed when its successor failed is one of them, an app that is just switched is not.
-spec healthy_count() -> non_neg_integer().
healthy_count() ->
    Guards = [{'=:=', {element, 3, '$3'}, running}, {'=/=', '$2', unhealthy}] ++
        [{'=/=', '$1', State} || State <- [switching, removing, failed]],
    case ets:whereis(?APPS) of
        undefined -> 0;
        Table -> ets:select_count(Table, [{{'_', '_', '$1', '$2', '$3', '_', '_'}, Guards, [true]}])
    end.

%% @doc The last errors of apps that are not as wanted, in words; at most ?SHOWN of them.
-spec failures() -> #{atom() => binary()}.
failures() ->
    Pattern = [{{'$1', '_', '$2', '_', '_', '_', '_'}, [{'=/=', '$2', running}], ['$1']}],
    Names = case ets:whereis(?APPS) of
        undefined -> [];
        Table -> first(ets:select(Table, Pattern, ?SHOWN))
    end,
    maps:from_list([{Name, Message} || Name <- Names, {ok, App} <- [details(Name)],
                    #app_state{details = #{last_error := #{message := Message}}} <- [App]]).

first('$end_of_table') -> [];
first({Names, _More}) -> Names.

-spec details(atom()) -> {ok, #app_state{}} | {error, not_found}.
details(Name) ->
    case lookup(?DETAILS, Name) of
        [{Name, AppState, _Spec}] -> {ok, AppState};
        [] -> {error, not_found}
    end.

%% @doc What `get_current_state/0' answers: the apps of which something is here.
-spec current_details() -> #{atom() => #app_state{}}.
current_details() ->
    Here = ets:select(?APPS, [{{'$1', '_', '_', '_', '$2', '_', '_'}, [{'=/=', '$2', undefined}], ['$1']}]),
    maps:from_list([{Name, App} || Name <- Here, {_, App, _} <- ets:lookup(?DETAILS, Name)]).

%% @doc The spec of what runs, or of what is to run.
-spec spec(atom()) -> {ok, #app_spec{}} | {error, not_found}.
spec(Name) ->
    case lookup(?DETAILS, Name) of
        [{Name, _AppState, #app_spec{} = Spec}] -> {ok, Spec};
        _ -> {error, not_found}
    end.

lookup(Table, Key) ->
    case ets:whereis(Table) of
        undefined -> [];
        Tid -> ets:lookup(Tid, Key)
    end.

to_row({Name, Pid, State, Health, Current, Watch, Pinned}) ->
    #{
        name => Name, pid => Pid, state => State, health => Health,
        current => Current, watch => Watch, pinned => Pinned
    }.
