%%% @doc What is found at start: the workspace, processes of apps that outlived the reconciler, and apps
%%% on disk with what they are to become. Decides nothing: `bc_gitops_recovery' does.
-module(bc_gitops_boot).

-include_lib("kernel/include/logger.hrl").

-export([use_workspace/0, processes/0, stored/1, restore/3, forget_builds/2]).

-define(META, #{application => bc_gitops}).

%% @doc Without a workspace nothing new is built; what runs goes on.
-spec use_workspace() -> ok.
use_workspace() ->
    case bc_gitops_workspace:init() of
        ok ->
            ok;
        {error, Reason} ->
            ?LOG_ERROR("the workspace cannot be used: ~ts", [bc_gitops_failure:describe(Reason)], ?META),
            bc_gitops_registry:put(state_error, Reason)
    end.

%% @doc Processes of apps that live. Rows whose process does not are taken away.
-spec processes() -> [{atom(), pid()}].
processes() ->
    Rows = [{element(1, Row), element(2, Row)} || Row <- bc_gitops_registry:rows()],
    {Living, Dead} = lists:partition(fun({_Name, Pid}) -> is_process_alive(Pid) end, Rows),
    lists:foreach(fun({Name, _Pid}) -> bc_gitops_registry:delete_app(Name) end, Dead),
    Living.

%% @doc The apps on disk; what cannot be read is said in the log.
-spec stored(bc_gitops_config:config()) -> {[bc_gitops_state:app()], [bc_gitops_state:problem()]}.
stored(#{state_path := StatePath}) ->
    {ok, Stored, Problems} = bc_gitops_state:read_apps(StatePath),
    lists:foreach(
        fun(#{file := File, reason := Reason}) ->
            ?LOG_ERROR("~ts is not readable and is put aside: ~ts", [File, bc_gitops_words:reason(Reason)], ?META)
        end,
        Problems
    ),
    {Stored, Problems}.

%% @doc The apps with their journals closed, on disk too, and the goals of those that have one.
-spec restore([bc_gitops_state:app()], Seq :: pos_integer(), bc_gitops_config:config()) ->
    {[bc_gitops_state:app()], [bc_gitops_goal:goal()]}.
restore(Stored, Seq, #{state_path := StatePath}) ->
    {Apps, Goals} = bc_gitops_recovery:goals(Stored, bc_gitops_node:incarnation(), Seq),
    lists:foreach(fun(App) -> _ = bc_gitops_state:write_app(StatePath, App) end, Apps),
    {Apps, Goals}.

%% @doc What is kept for apps that neither run nor are on disk is kept for nobody; unless one of them
%% could not be read.
-spec forget_builds(Known :: [atom()], [bc_gitops_state:problem()]) -> ok.
forget_builds(Known, []) ->
    bc_gitops_workspace:keep_only(Known);
forget_builds(_Known, _Problems) ->
    ok.
