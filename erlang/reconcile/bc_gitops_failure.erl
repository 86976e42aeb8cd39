%%% @doc Sorts failures by what happens next, and says so in words. Pure.
%%%
%%% `retry' for what may pass by itself, `quarantine' for what will fail again the same way until the
%%% spec or its source changes: trying that again would be a new outage each time.
-module(bc_gitops_failure).

-export([class/3, describe/1, kind/1, backoff/3]).

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
    too_deep, special_file, link_outside, output_limit, code_refused,
    %% how it goes together with what else is here
    missing_applications, module_conflict, dependency_conflict, otp_mismatch
]).
%% The runtime gave up before it stopped anything, for a reason that lies elsewhere.
-define(NOTHING_STOPPED, [controller_blocked, cancelled, busy]).

%% As many as are named one by one.
-define(NAMED, 10).

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
describe({controller_blocked, #{app := App, timeout := Timeout}}) ->
    text("~ts was left as it is: another application held up the node's application controller for ~ts ms; "
         "tried again, and the application that hangs in its start or stop is the one to look at",
         [value(App), value(Timeout)]);
describe({cancelled, #{app := App}}) ->
    text("~ts was left as it is: its switch was called off before anything was stopped; tried again",
         [value(App)]);
describe({busy, #{runtime := Module, callback := Callback}}) ->
    text("the runtime module ~ts was busy with another call when ~ts was due; tried again",
         [value(Module), value(Callback)]);
describe({build_damaged, #{message := Message}}) ->
    text("~ts; it is built anew once, and if that does not help the disk is to be looked at", [Message]);
describe({build_damaged, #{module := Module, file := File}}) ->
    text("its build in the store is damaged (module ~ts, ~ts); it is built anew once, and if that does not "
         "help the disk is to be looked at", [value(Module), value(File)]);
describe({build_damaged, #{app := App}}) ->
    text("the build of ~ts in the store is damaged; it is built anew once, and if that does not help the disk "
         "is to be looked at", [value(App)]);
describe({code_refused, #{modules := Modules}}) when is_list(Modules) ->
    text("the VM does not load modules of its build (~ts); change them, or what builds them",
         [pairs(" ", Modules)]);
describe({host_application, #{app := App, wanted := Wanted, found := Found, path := Path}}) ->
    text("the host has ~ts ~ts on its own code path (~ts), and the spec wants ~ts; ask for the host's version, "
         "or take it out of the host's release",
         [value(App), value(Found), value(Path), value(Wanted)]);
describe({otp_mismatch, #{tools := Tools, running := Running}}) ->
    text("the build tools on PATH run on OTP ~ts, and this VM, which is OTP ~ts, cannot load what they build; "
         "put tools of this OTP first on PATH", [value(Tools), value(Running)]);
describe({missing_applications, Names}) when is_list(Names) ->
    text("it needs applications that neither its build nor the host has (~ts); add them to its dependencies or "
         "to the host's release", [names(", ", Names)]);
describe({protected_application, #{app := App, reason := Why}}) ->
    text("~ts ~ts, and such an application is never managed; take it out of the repository, or give yours "
         "another name", [value(App), protected(Why)]);
describe({dependency_conflict, #{app := App, dependency := Name, wanted := Wanted, present := Present} = Details}) ->
    text("~ts brings ~ts ~ts, and ~ts is here with other code~ts; bring both to the same version, give ~ts a "
         "spec of its own, which then decides, or give ~ts the isolation vm",
         [value(App), value(Name), value(Wanted), value(Present), users(Details), value(Name), value(App)]);
describe({module_conflict, #{app := App, modules := Modules}}) when is_list(Modules) ->
    text("~ts has modules whose names are taken (~ts); rename them, or give it the isolation vm",
         [value(App), pairs(" in ", Modules)]);
describe({start_failed, #{app := App, reason := Reason}}) ->
    text("~ts does not start (~ts); mend its start, or what it needs, and push",
         [value(App), term(Reason)]);
describe({start_timeout, #{app := App, timeout := Timeout}}) ->
    text("~ts did not start within ~ts ms and was ended; mend its start, or set start_timeout higher",
         [value(App), value(Timeout)]);
describe({version_mismatch, #{spec := Spec, app := Version}}) ->
    text("the spec says version ~ts, and the .app file of what was built says ~ts; make them the same",
         [value(Spec), value(Version)]);
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

protected(otp) -> "is part of OTP";
protected(started_by_host) -> "was started by the host";
protected(needed_by_bc_gitops) -> "is needed by bc_gitops itself";
protected(Why) -> ["is protected: ", value(Why)].

users(#{used_by := host}) -> ", the host's";
users(#{used_by := Apps}) when is_list(Apps) -> [", used by ", names(", ", Apps)];
users(_Details) -> "".

pairs(Between, Pairs) ->
    names(", ", [
        case Pair of
            {Left, Right} -> [value(Left), Between, value(Right)];
            Other -> value(Other)
        end
     || Pair <- Pairs
    ]).

names(Between, Names) ->
    More = [io_lib:format(" and ~b more", [length(Names) - ?NAMED]) || length(Names) > ?NAMED],
    [lists:join(Between, [value(Name) || Name <- lists:sublist(Names, ?NAMED)]) | More].

%% Reasons come from runtime modules of others too: what is not text is shown as a term.
value(Text) when is_binary(Text); is_list(Text) ->
    case unicode:characters_to_binary(Text) of
        Good when is_binary(Good) -> Good;
        _ -> term(Text)
    end;
value(Name) when is_atom(Name) ->
    atom_to_binary(Name);
value(Other) ->
    term(Other).

term(Term) ->
    io_lib:format("~0tP", [Term, 20]).

text(Format, Args) ->
    unicode:characters_to_binary(io_lib:format(Format, Args)).
