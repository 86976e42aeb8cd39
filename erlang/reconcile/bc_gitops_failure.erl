%%% @doc Sorts failures by what happens next, and says so in words. Pure.
%%%
%%% `retry' for what may pass by itself, `quarantine' for what will fail again the same way until the
%%% spec or its source changes: trying that again would be a new outage each time.
-module(bc_gitops_failure).

-export([class/3, describe/1, kind/1, backoff/3]).

-import(bc_gitops_words, [text/2, value/1, names/1, names/2]).

-export_type([class/0, phase/0]).

-type class() :: retry | quarantine.
-type phase() :: prepare | start | switch | restore | remove.

%% Failures before the switch that no second try will change.
-define(LASTING, [
    %% what the spec says
    bad_url, bad_ref, bad_path, bad_name, bad_mcid, not_supported_yet, version_mismatch, protected_application,
    host_application,
    version_retired, no_resolution, checksum_changed, sha256_missing, bad_sha256,
    %% what the source holds
    plugin_missing, build_tool_unknown, build_tools_differ, same_application,
    bad_manifest, build_failed, unknown_project, app_not_built, invalid_app_file, bad_app_file, invalid_beam,
    modules_missing, beam_misnamed, too_many_modules, too_many_atoms, too_many_files, too_large,
    too_deep, special_file, link_outside, output_limit, process_limit, memory_limit, disk_limit,
    files_limit, code_refused, bad_archive, duplicate_entry,
    %% how it goes together with what else is here
    dependency_conflict, otp_mismatch,
    release_erts, wrong_architecture
]).
%% As many names of a cycle are shown.
-define(CYCLE, 9).
%% The runtime gave up before it stopped anything, for a reason that lies elsewhere: with the controller, or
%% with other apps, which change.
-define(NOTHING_STOPPED, [controller_blocked, cancelled, busy, missing_applications, module_conflict,
                          old_code_in_use]).

%% @doc What happens after a failure of try number Attempt. `start' is a deployment by a module that
%% cannot prepare, of an app that did not run: it took nothing away, so it is judged like a preparation.
%% A damaged build is found before anything is stopped, and made anew once. A conflict with other managed
%% apps is found before that too, and passes when they change.
-spec class(phase(), Reason :: term(), Attempt :: non_neg_integer()) -> class().
class(Phase, _Reason, _Attempt) when Phase =:= restore; Phase =:= remove ->
    retry;
class(_Phase, {dependency_conflict, #{used_by := [_ | _]}}, _Attempt) ->
    retry;
class(Phase, Reason, Attempt) ->
    Kind = kind(Reason),
    case lists:member(Kind, ?NOTHING_STOPPED) orelse Kind =:= build_damaged andalso Attempt =< 1 of
        true -> retry;
        false -> lasting(Phase, Kind)
    end.

lasting(switch, _Kind) ->
    quarantine;
lasting(_Phase, Kind) ->
    case lists:member(Kind, [build_damaged | ?LASTING]) of
        true -> quarantine;
        false -> retry
    end.

%% @doc The name of a failure.
-spec kind(term()) -> atom().
kind(Kind) when is_atom(Kind) -> Kind;
kind(Reason) when is_tuple(Reason), tuple_size(Reason) > 0 -> kind(element(1, Reason));
kind(_Reason) -> unknown.

%% @doc A failure in words, bounded in size: one sentence, or a line for each of several. Those of the
%% runtime and of builds are put into words where they are made.
-spec describe(term()) -> binary().
describe({rolled_back, #{reason := Reason} = Details}) ->
    text("~ts~ts~ts: ~ts", [again(Details), gap(Details), not_hot(Details), describe(Reason)]);
describe({rollback_failed, #{reason := Reason, rollback_reason := RollbackReason} = Details}) ->
    text("~ts; and the old version did not come up again either, nothing of it runs~ts: ~ts",
         [describe(Reason), gap(Details), describe(RollbackReason)]);
describe({hot_upgrade_undone, #{running := Running, reason := Reason}}) ->
    text("the hot upgrade was undone, ~ts runs on in the same processes: ~ts", [value(Running), describe(Reason)]);
describe({blocked, Reason}) ->
    blocked(Reason);
describe({Kind, [_ | _] = Errors} = Reason) when Kind =:= spec_errors; Kind =:= invalid_specs; Kind =:= invalid_spec ->
    problems(Errors, Reason);
describe({actions_failed, [_ | _] = Failures}) ->
    text("~ts", [lists:join("\n", [failed(Failure) || Failure <- Failures])]);
describe({desired_state, Reason}) ->
    text("the desired state cannot be read: ~ts", [describe(Reason)]);
describe({bad_config, [_ | _]} = Reason) ->
    bc_gitops_config:format_error(Reason);
describe({build_damaged, #{message := Message}}) ->
    text("~ts; it is built anew once, and if that does not help the disk is to be looked at", [Message]);
describe({Kind, #{message := Message}}) when is_atom(Kind), is_binary(Message) ->
    Message;
describe({_Kind, #{}} = Reason) ->
    first([fun bc_gitops_runtime_error:format_error/1, fun bc_gitops_build_error:format_known/1,
           fun bc_gitops_state:format_known/1, fun of_the_reconciler/1], Reason);
describe(Reason) ->
    first([fun bc_gitops_runtime_error:format_error/1, fun plain/1], Reason).

first([Says | Rest], Reason) ->
    case Says(Reason) of
        unknown -> first(Rest, Reason);
        Said -> unicode:characters_to_binary(Said)
    end;
first([], Reason) ->
    text("~ts", [bc_gitops_words:reason(Reason)]).

again(#{running := Running}) -> ["rolled back, ", value(Running), " runs again"];
again(_Details) -> "rolled back".

%% Why it was a restart that failed.
not_hot(Details) ->
    case bc_gitops_hot_switch:describe(Details) of
        <<>> -> "";
        Said -> [" (", Said, ")"]
    end.

gap(#{gap_ms := Ms}) when is_number(Ms) -> text(" (gap ~w ms)", [Ms]);
gap(_Details) -> "".

%% A cycle ends where it began.
blocked({cycle, [First | _] = Names}) ->
    Shown = case length(Names) =< ?CYCLE of
        true -> Names;
        false -> lists:sublist(Names, ?CYCLE - 1) ++ ["..."]
    end,
    text("its dependencies lead back to itself: ~ts; take one depends_on of these out",
         [names(" -> ", Shown ++ [First])]);
blocked({missing_dependency, Names}) ->
    text("it depends on what the repository does not have: ~ts; add it, or take it out of depends_on",
         [names(Names)]);
blocked({blocked_dependency, Name}) ->
    text("its dependency ~ts cannot be planned; what is said of that one is to be mended", [value(Name)]);
blocked({duplicate, Dirs}) ->
    text("more than one directory has this name: ~ts; rename all but one", [names(Dirs)]);
blocked(Reason) when element(1, Reason) =:= self_dependency; Reason =:= self_dependency ->
    <<"it depends on itself; take its own name out of depends_on">>;
blocked(Reason) ->
    text("it cannot be planned: ~ts", [bc_gitops_words:reason(Reason)]).

%% Each problem's message begins with file:line:column.
problems(Errors, Reason) ->
    Found = lists:append([
        case Error of
            #{problems := Problems} when is_list(Problems) -> Problems;
            _ -> [Error]
        end
     || Error <- Errors
    ]),
    case [Message || #{message := Message} <- Found] of
        [] -> text("the spec is not good: ~ts", [bc_gitops_words:reason(element(2, Reason))]);
        Messages -> text("~ts", [lists:join("\n", Messages)])
    end.

failed(#{app := undefined, action := Action, reason := Reason} = Failure) ->
    text("~ts~ts: ~ts", [value(Action), at_commit(Failure), describe(Reason)]);
failed(#{app := App, action := Action, reason := Reason} = Failure) ->
    text("~ts of ~ts~ts: ~ts", [value(Action), value(App), at_commit(Failure), describe(Reason)]);
failed(Other) ->
    bc_gitops_words:reason(Other).

at_commit(#{commit := <<Short:7/binary, _/binary>>}) -> [" (commit ", Short, ")"];
at_commit(_Failure) -> "".

of_the_reconciler({timeout, #{while := cycle}}) ->
    <<"the cycle took too long and was ended; what runs stays, the next cycle tries again">>;
of_the_reconciler({timeout, #{while := State} = Details}) ->
    text("~ts was not done by its deadline (~ts) and was ended; look for what it waits for, or set build_timeout, "
         "start_timeout or stop_timeout higher", [value(maps:get(action, Details, <<"the action">>)), value(State)]);
of_the_reconciler({process_not_started, #{app := App}}) ->
    text("the process that looks after ~ts could not be started; the next cycle tries again", [value(App)]);
of_the_reconciler({ref_is_no_version, #{app := App, ref := Ref, version := Version}}) ->
    text("the ref of ~ts is ~ts, which is not its version ~ts, so another version cannot be derived from it; "
         "change the ref in the repository", [value(App), value(Ref), value(Version)]);
of_the_reconciler({bad_name, #{name := Name}}) ->
    text("~ts is no name for an application: a lower-case letter, then letters, digits, _ or @, at most 100",
         [value(Name)]);
of_the_reconciler({not_found, #{program := Program}}) ->
    text("~ts is not on the path; install it", [value(Program)]);
of_the_reconciler(_Reason) ->
    unknown.

plain({dependency_failed, Name}) ->
    text("its dependency ~ts failed; mend that one", [value(Name)]);
plain({vm_died_in_start, Times}) ->
    text("the VM went down ~ts times while it was started, so it is set aside; mend its start and push",
         [value(Times)]);
plain({worker_died, Reason}) ->
    text("the process that did the work was ended (~ts); what runs is found out by the next cycle",
         [bc_gitops_words:reason(Reason)]);
plain({process_died, Reason}) ->
    text("the process that looked after it died (~ts), which is a fault of bc_gitops; the next cycle finds out "
         "what runs", [bc_gitops_words:reason(Reason)]);
plain({stopped, Reason}) ->
    text("it stopped by itself (~ts); the next cycle starts it again", [bc_gitops_words:reason(Reason)]);
plain({called_from_managed_app, App}) ->
    text("~ts is managed itself: a process of its own would wait for itself; call from another process",
         [value(App)]);
plain({invalid_type, Field, Expected, Got}) ->
    text("~ts is ~ts, expected ~ts", [value(Field), bc_gitops_words:reason(Got), value(Expected)]);
plain({invalid_value, Field, Expected, Got}) ->
    text("~ts is ~ts, which it cannot be; expected ~ts", [value(Field), bc_gitops_words:reason(Got), value(Expected)]);
plain({missing_field, Field}) ->
    text("the spec has no ~ts; add it", [value(Field)]);
plain({not_ready, Phase}) ->
    text("bc_gitops is not ready for this (~ts); try again when status/0 says more", [value(Phase)]);
plain({not_started, App}) ->
    text("the application ~ts is not started; call application:ensure_all_started/1 first", [value(App)]);
plain({already_started, Pid}) ->
    text("it is started already (~ts); call bc_gitops:stop_reconciler/0 first", [value(Pid)]);
plain({unknown_format, Format}) ->
    text("the file was written by a newer bc_gitops (format ~ts); go back to that version, or remove the file",
         [value(Format)]);
plain(not_running) ->
    <<"nothing is followed: bc_gitops is not started, or has no repo_url; start it, and set repo_url or call "
      "bc_gitops:start_reconciler/1">>;
plain(not_read_yet) ->
    <<"the repository was not read yet; try again in a moment">>;
plain(stopped) ->
    <<"bc_gitops was told to stop following; call bc_gitops:start_reconciler/1 to go on">>;
plain(stopping) ->
    <<"bc_gitops is about to stop following; try again when it has">>;
plain(not_found) ->
    <<"no application of this name is managed here">>;
plain(cancelled) ->
    <<"it was called off, something newer is wanted">>;
plain(_Reason) ->
    unknown.

%% @doc Milliseconds until try number Attempt + 1: doubled each time, within the limits, and moved by
%% up to a fifth so that apps which failed together do not come back together.
-spec backoff(Attempt :: pos_integer(), Min :: pos_integer(), Max :: pos_integer()) -> pos_integer().
backoff(Attempt, Min, Max) ->
    Base = min(Max, Min bsl min(Attempt - 1, 20)),
    max(1, Base - rand:uniform(max(1, Base div 5)) + 1).
