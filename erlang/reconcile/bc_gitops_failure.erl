%%% @doc Sorts failures by what happens next, and says so in words. Pure.
%%%
%%% `retry' for what may pass by itself, `quarantine' for what will fail again the same way until the
%%% spec or its source changes: trying that again would be a new outage each time.
-module(bc_gitops_failure).

-export([class/2, describe/1, kind/1, backoff/3]).

-export_type([class/0, phase/0]).

-type class() :: retry | quarantine.
-type phase() :: prepare | start | switch | restore | remove.

%% Failures before the switch that no second try will change.
-define(LASTING, [
    %% what the spec says
    bad_url, bad_ref, bad_path, bad_name, not_supported_yet, version_mismatch, protected_application,
    host_application,
    %% what the source holds
    build_failed, unknown_project, app_not_built, invalid_app_file, bad_app_file, invalid_beam,
    modules_missing, beam_misnamed, too_many_modules, too_many_atoms, too_many_files, too_large,
    too_deep, special_file, link_outside, output_limit,
    %% how it goes together with what else is here
    missing_applications, module_conflict, dependency_conflict
]).

%% @doc What happens after a failure. `start' is a deployment by a module that cannot prepare, of an
%% app that did not run: it took nothing away, so it is judged like a preparation.
-spec class(phase(), Reason :: term()) -> class().
class(switch, _Reason) ->
    quarantine;
class(Phase, _Reason) when Phase =:= restore; Phase =:= remove ->
    retry;
class(_Phase, Reason) ->
    case lists:member(kind(Reason), ?LASTING) of
        true -> quarantine;
        false -> retry
    end.

%% @doc The name of a failure.
-spec kind(term()) -> atom().
kind(Kind) when is_atom(Kind) -> Kind;
kind(Reason) when is_tuple(Reason), tuple_size(Reason) > 0 -> kind(element(1, Reason));
kind(_Reason) -> unknown.

%% @doc A failure in one line, bounded in size.
-spec describe(term()) -> binary().
describe({dependency_failed, Name}) ->
    text("its dependency ~ts failed", [Name]);
describe({blocked, {cycle, Names}}) ->
    text("its dependencies lead back to itself: ~ts", [names(" -> ", Names)]);
describe({blocked, {missing_dependency, Names}}) ->
    text("it depends on what the repository does not have: ~ts", [names(", ", Names)]);
describe({blocked, {blocked_dependency, Name}}) ->
    text("its dependency ~ts cannot be planned", [Name]);
describe({blocked, {duplicate, Dirs}}) ->
    text("more than one directory has this name: ~ts", [lists:join(", ", Dirs)]);
describe({blocked, Reason}) when element(1, Reason) =:= self_dependency; Reason =:= self_dependency ->
    <<"it depends on itself">>;
describe({vm_died_in_start, Times}) ->
    text("the VM went down ~b times while it was started: set aside", [Times]);
describe({rolled_back, #{reason := Reason} = Details}) ->
    Gap = case Details of
        #{gap_ms := Ms} when is_number(Ms) -> text(" (gap ~w ms)", [Ms]);
        _ -> <<>>
    end,
    text("rolled back~ts: ~ts", [Gap, describe(Reason)]);
describe({rollback_failed, #{reason := Reason, rollback_reason := RollbackReason}}) ->
    text("~ts; and rolling back failed: ~ts", [describe(Reason), describe(RollbackReason)]);
describe({Kind, #{message := Message}}) when is_atom(Kind), is_binary(Message) ->
    text("~ts: ~ts", [Kind, Message]);
describe(Reason) ->
    text("~0tP", [Reason, 30]).

%% @doc Milliseconds until try number Attempt + 1: doubled each time, within the limits, and moved by
%% up to a fifth so that apps which failed together do not come back together.
-spec backoff(Attempt :: pos_integer(), Min :: pos_integer(), Max :: pos_integer()) -> pos_integer().
backoff(Attempt, Min, Max) ->
    Base = min(Max, Min bsl min(Attempt - 1, 20)),
    max(1, Base - rand:uniform(max(1, Base div 5)) + 1).

names(Between, Names) ->
    lists:join(Between, [io_lib:format("~ts", [Name]) || Name <- Names]).

text(Format, Args) ->
    unicode:characters_to_binary(io_lib:format(Format, Args)).
