%%% @doc Puts into words why code could not change while it ran: what happened, and what to do next.
-module(bc_gitops_hot_error).

-export([format_error/1]).

-import(bc_gitops_words, [text/2, value/1, names/1, pairs/2, reason/1]).

%% @doc One sentence; `unknown' for what a hot upgrade does not make.
-spec format_error(term()) -> binary() | unknown.
format_error({Kind, #{} = Details}) when is_atom(Kind) ->
    case before_loading(Kind, Details) of
        unknown -> of_the_change(Kind, Details);
        Said -> Said
    end;
format_error(_Other) ->
    unknown.

before_loading(not_hot, #{modules := Modules}) ->
    text("modules that cannot be replaced while they run (~ts); restart what runs them",
         [pairs(": ", [{M, obstacle(Why)} || {M, Why} <- Modules])]);
before_loading(old_code_in_use, #{modules := Modules} = Details) ->
    text("processes still run code of ~ts that was replaced earlier (~ts); it can change when they "
         "have left it, or by an upgrade with force, which ends them",
         [names(Modules), processes(Details)]);
before_loading(supervisors_silent, Details) ->
    text("supervisors of ~ts do not answer (~ts), so that its processes cannot be found; look for "
         "what they wait for, or resume them", [app(Details), processes(Details)]);
before_loading(not_suspended, Details) ->
    text("processes did not stop for an upgrade in time (~ts), nothing was changed; look for what "
         "they are busy with", [processes(Details)]);
before_loading(Kind, Details) ->
    of_the_files(Kind, Details).

of_the_files(object_not_read, #{file := File} = Details) ->
    text("the object code in ~ts cannot be read~ts; build it again",
         [value(File), because(Details)]);
of_the_files(object_not_found, #{module := Module}) ->
    text("the module ~ts has no file, neither on the code path nor where it was loaded from; put "
         "its directory on the code path", [value(Module)]);
of_the_files(app_not_found, #{app := App}) ->
    text("~ts is neither loaded nor on the code path; put its ebin directory there", [value(App)]);
of_the_files(app_not_loaded, #{app := App}) ->
    text("~ts is not loaded, so there is nothing to upgrade; start the version that is wanted",
         [value(App)]);
of_the_files(other_version_runs, #{app := App, asked := Asked, running := Running}) ->
    text("~ts is to be upgraded from ~ts, and ~ts runs; name that one as the old version",
         [value(App), value(Asked), value(Running)]);
of_the_files(version_not_found, #{app := App, version := Version, found := Found}) ->
    text("~ts ~ts is not on the code path (there: ~ts); add its ebin directory, or build it there",
         [value(App), value(Version), case Found of [] -> "nothing"; _ -> pairs(" ", Found) end]);
of_the_files(_Kind, _Details) ->
    unknown.

of_the_change(sup_flags_changed, #{module := Module}) ->
    text("sup flags changed in ~ts, and a running supervisor keeps its own", [value(Module)]);
of_the_change(supervisor_init_failed, #{module := Module} = Details) ->
    text("init/1 of the supervisor ~ts cannot be asked while it runs~ts; keep it free of "
         "everything but its child specifications", [value(Module), because(Details)]);
of_the_change(code_change_failed, #{module := Module} = Details) ->
    text("code_change of ~ts failed~ts~ts; mend that function",
         [value(Module), in(Details), because(Details)]);
of_the_change(not_resumed, Details) ->
    text("processes did not go on after an upgrade (~ts); they have to be started anew",
         [processes(Details)]);
of_the_change(child_not_started, #{child := Child} = Details) ->
    text("the new child ~ts did not start~ts; mend its start", [reason(Child), because(Details)]);
of_the_change(child_not_stopped, #{child := Child} = Details) ->
    text("the child ~ts, which the new version does not have, did not stop~ts; mend its end",
         [reason(Child), because(Details)]);
of_the_change(function_failed, #{function := {M, F, A}} = Details) ->
    text("~ts:~ts/~b, which the appup calls, failed~ts; mend that function",
         [value(M), value(F), length(A), because(Details)]);
of_the_change(Kind, Details) ->
    of_the_way_back(Kind, Details).

of_the_way_back(not_undone, #{reason := Reason, problems := Problems}) ->
    text("~ts; the former code could not be brought back in place (~ts), it has to be started anew",
         [said(Reason), lists:join("; ", [said(Problem) || Problem <- Problems])]);
of_the_way_back(former_code_not_kept, #{modules := Modules}) ->
    text("the object code that ran before is nowhere kept (~ts); build the former version, and "
         "load it",
         [names(Modules)]);
of_the_way_back(children_replaced, #{children := Ids}) ->
    text("children were started anew with other arguments (~ts), their states are gone",
         [ids(Ids)]);
of_the_way_back(children_removed, #{children := Ids}) ->
    text("children that the new version does not have were stopped (~ts)", [ids(Ids)]);
of_the_way_back(function_called, #{function := {M, F, A}}) ->
    text("~ts:~ts/~b was called, and nobody knows what it changed",
         [value(M), value(F), length(A)]);
of_the_way_back(state_not_restored, Details) ->
    text("processes did not take their former states back (~ts)", [processes(Details)]);
of_the_way_back(upgrade_killed, Details) ->
    text("the process that changed the code was ended~ts; look for what ended it",
         [because(Details)]);
of_the_way_back(upgrade_crashed, Details) ->
    text("the change of code crashed~ts, which is a fault of bc_gitops", [because(Details)]);
of_the_way_back(_Kind, _Details) ->
    unknown.

said({silent, Pids}) ->
    text("processes do not answer (~ts)", [processes(#{processes => Pids})]);
said(Reason) ->
    case format_error(Reason) of
        unknown -> text("~ts", [reason(Reason)]);
        Said -> Said
    end.

obstacle(sticky) -> "it belongs to a directory of OTP that is sticky";
obstacle(preloaded) -> "the VM itself has it preloaded";
obstacle(cover_compiled) -> "it is cover compiled";
obstacle(nif) -> "it has native functions";
obstacle(on_load) -> "it has an on_load function";
obstacle(Other) -> value(Other).

ids(Ids) -> names([reason(Id) || Id <- Ids]).

app(#{app := App}) -> value(App);
app(_Details) -> <<"the application">>.

in(#{process := Pid}) -> [" in ", process({Pid, bc_gitops_hot_processes:describe(Pid)})];
in(_Details) -> "".

because(#{reason := timeout}) -> " (no answer in time)";
because(#{reason := {'EXIT', Reason}}) -> [" (", reason(Reason), ")"];
because(#{reason := Reason}) -> [" (", reason(Reason), ")"];
because(_Details) -> "".

processes(#{processes := Processes}) when is_list(Processes) ->
    names([process(Process) || Process <- Processes]);
processes(_Details) ->
    "unknown".

process({Pid, #{} = What}) ->
    Runs = [io_lib:format(" in ~ts:~ts/~b", [M, F, A])
            || {M, F, A} <- [maps:get(current_function, What, none)]],
    text("~ts~ts~ts", [registered(What), pid(Pid), Runs]);
process(Pid) ->
    pid(Pid).

registered(#{registered_name := Name}) -> [value(Name), $ ];
registered(_What) -> "".

pid(Pid) when is_pid(Pid) -> pid_to_list(Pid);
pid(Other) -> reason(Other).
