%%% @doc Puts into words why a runtime could not do what was asked: what happened, and what to do next.
-module(bc_gitops_runtime_error).

-export([format_error/1]).

-import(bc_gitops_words, [text/2, value/1, names/1, pairs/2, reason/1]).

%% @doc One sentence; `unknown' for what this room does not make. Runtime modules of users may use the
%% same names for shapes of their own, so nothing here fails on a detail.
-spec format_error(term()) -> binary() | unknown.
format_error({Kind, #{} = Details}) when is_atom(Kind) ->
    case before_the_switch(Kind, Details) of
        unknown ->
            case of_the_switch(Kind, Details) of
                unknown -> of_the_call(Kind, Details);
                Said -> Said
            end;
        Said ->
            Said
    end;
format_error({missing_applications, Names}) when is_list(Names) ->
    text("it needs applications that neither its build nor the host has (~ts); add them to its dependencies or "
         "to the host's release", [names(Names)]);
format_error(_Other) ->
    unknown.

%% What is found before anything is stopped.
before_the_switch(controller_blocked, #{timeout := Timeout} = Details) ->
    text("~ts was left as it is: another application held up the node's application controller for ~ts ms; "
         "tried again, and the application that hangs in its start or stop is the one to look at",
         [app(Details), value(Timeout)]);
before_the_switch(cancelled, #{app := App}) ->
    text("~ts was left as it is: its switch was called off before anything was stopped; tried again",
         [value(App)]);
before_the_switch(dependency_busy, Details) ->
    text("~ts was left as it is: another application's switch holds ~ts; tried again",
         [app(Details), value(maps:get(dependency, Details, <<"what it needs">>))]);
before_the_switch(build_damaged, #{module := Module, file := File}) ->
    text("its build in the store is damaged (module ~ts, ~ts); it is built anew once, and if that does not "
         "help the disk is to be looked at", [value(Module), value(File)]);
before_the_switch(build_damaged, #{app := App}) ->
    text("the build of ~ts in the store is damaged; it is built anew once, and if that does not help the disk "
         "is to be looked at", [value(App)]);
before_the_switch(build_not_found, #{app := App, key := Key}) ->
    text("the build ~ts of ~ts is not in the store any more; the next try builds it again, and if "
         "that does not help workspace_path is to be looked at", [value(Key), value(App)]);
before_the_switch(bad_app_file, #{app := App, file := File} = Details) ->
    text("the file ~ts of ~ts cannot be used~ts; build it again, or mend what writes it",
         [value(File), value(App), because(Details)]);
before_the_switch(code_refused, #{modules := Modules}) ->
    text("the VM does not load modules of its build (~ts); change them, or what builds them",
         [pairs(" ", Modules)]);
before_the_switch(host_application, #{app := App, wanted := Wanted, found := Found, path := Path}) ->
    text("the host has ~ts ~ts on its own code path (~ts), and the spec wants ~ts; ask for the host's version, "
         "or take it out of the host's release",
         [value(App), value(Found), value(Path), value(Wanted)]);
before_the_switch(protected_application, #{app := App, reason := Why}) ->
    text("~ts ~ts, and such an application is never managed; take it out of the repository, or give yours "
         "another name", [value(App), protected(Why)]);
before_the_switch(dependency_conflict, #{app := App, dependency := Name, wanted := Wanted,
                                         present := Present} = Details) ->
    text("~ts brings ~ts ~ts, and ~ts is here with other code~ts; bring both to the same version, give ~ts a "
         "spec of its own, which then decides, or give ~ts the isolation vm",
         [value(App), value(Name), value(Wanted), value(Present), users(Details), value(Name), value(App)]);
before_the_switch(module_conflict, #{app := App, modules := Modules}) ->
    text("~ts has modules whose names are taken (~ts); rename them, or give it the isolation vm",
         [value(App), pairs(" in ", Modules)]);
before_the_switch(version_mismatch, #{spec := Spec, app := Version}) ->
    text("the spec says version ~ts, and the .app file of what was built says ~ts; make them the same",
         [value(Spec), value(Version)]);
before_the_switch(not_supported_yet, #{what := What} = Details) ->
    text("~ts asks for what this version of bc_gitops cannot do yet (~ts); change its spec",
         [app(Details), value(What)]);
before_the_switch(not_deployed, #{app := App}) ->
    text("~ts does not run here, so its environment was not changed; the next cycle deploys it", [value(App)]);
before_the_switch(_Kind, _Details) ->
    unknown.

%% What happens while code and applications change.
of_the_switch(start_failed, #{app := App} = Details) ->
    text("~ts does not start~ts; mend its start, or what it needs, and push", [value(App), because(Details)]);
of_the_switch(start_timeout, #{app := App, timeout := Timeout}) ->
    text("~ts did not start within ~ts ms and was ended; mend its start, or set start_timeout higher",
         [value(App), value(Timeout)]);
of_the_switch(dependency_not_started, #{app := App, dependency := Dependency} = Details) ->
    text("~ts needs ~ts, which does not start~ts; mend that application, or what it needs",
         [value(App), value(Dependency), because(Details)]);
of_the_switch(load_failed, #{modules := Modules}) ->
    text("the VM refused code of the new version while it was loaded (~ts); mend these modules, their on_load "
         "functions first of all", [pairs(" ", Modules)]);
of_the_switch(load_failed, #{app := App} = Details) ->
    text("the application controller does not take the .app file of ~ts~ts; mend that file",
         [value(App), because(Details)]);
of_the_switch(unload_failed, #{app := App} = Details) ->
    text("~ts was stopped and does not go from the list of loaded applications~ts; something starts it again, "
         "look for what does", [value(App), because(Details)]);
of_the_switch(code_in_use, #{app := App, modules := Modules} = Details) ->
    text("processes that the node cannot do without (~ts) still run code of ~ts (~ts), so that code stays; "
         "end what uses it there, or restart the VM",
         [processes(Details), value(App), names(Modules)]);
of_the_switch(code_left, #{app := App, modules := Modules}) ->
    text("modules of ~ts were loaded again while they were removed (~ts); look for what calls them, or restart "
         "the VM", [value(App), names(Modules)]);
of_the_switch(code_differs, #{modules := Modules}) ->
    text("what is loaded is not the code that was built (~ts), somebody else loads these modules; look for a "
         "second copy on the code path", [pairs(" ", Modules)]);
of_the_switch(bad_path, #{path := Path} = Details) ->
    text("the directory ~ts of its build cannot be put on the code path~ts; look whether it is there and "
         "readable", [value(Path), because(Details)]);
of_the_switch(env_not_set, Details) ->
    text("the environment of ~ts could not be set~ts; another application may hold up the node's application "
         "controller", [app(Details), because(Details)]);
of_the_switch(config_change_failed, Details) ->
    text("config_change/3 of ~ts did not take the new environment~ts, and the old one was put back; mend that "
         "function, or the env of its spec", [app(Details), because(Details)]);
of_the_switch(protocol_failed, Details) ->
    text("the Elixir protocol ~ts could not be consolidated~ts; look at its implementations",
         [value(maps:get(protocol, Details, <<"of this application">>)), because(Details)]);
of_the_switch(switch_crashed, #{app := App} = Details) ->
    text("the switch of ~ts crashed~ts, which is a fault of bc_gitops; what it had begun is taken down by the "
         "next try", [value(App), because(Details)]);
of_the_switch(_Kind, _Details) ->
    unknown.

%% What happens to the call of a runtime module.
of_the_call(busy, #{runtime := Module, callback := Callback}) ->
    text("the runtime module ~ts was busy with another call when ~ts was due; tried again",
         [value(Module), value(Callback)]);
of_the_call(bad_return, #{runtime := Module, callback := Callback, answer := Answer}) ->
    text("~ts of the runtime module ~ts answered what the behaviour does not know (~ts); mend the module",
         [value(Callback), value(Module), reason(Answer)]);
of_the_call(restore_not_supported, #{app := App, runtime := Module}) ->
    text("~ts does not run, and was deployed by a runtime module (~ts) without prepare/1 and restore/2, which "
         "would start it from what was built", [value(App), value(Module)]);
of_the_call(runtime_failed, #{runtime := Module, callback := Callback} = Details) ->
    text("~ts of the runtime module ~ts raised ~ts; mend the module",
         [value(Callback), value(Module), raised(Details)]);
of_the_call(runtime_killed, #{runtime := Module, callback := Callback} = Details) ->
    text("the process that ran ~ts of the runtime module ~ts was ended~ts; look for what that call links to",
         [value(Callback), value(Module), because(Details)]);
of_the_call(crashed, Details) ->
    text("a call for ~ts crashed~ts; the log and the code that was called are to be looked at",
         [app(Details), because(Details)]);
of_the_call(timeout, #{module := Module, timeout := Timeout}) ->
    text("the module ~ts took longer than ~ts ms to load and was given up; mend its on_load function",
         [value(Module), value(Timeout)]);
of_the_call(timeout, #{runtime := Module, callback := Callback, timeout := Timeout}) ->
    text("~ts of the runtime module ~ts took longer than ~ts ms and was ended; mend the module",
         [value(Callback), value(Module), value(Timeout)]);
of_the_call(timeout, #{timeout := Timeout} = Details) ->
    text("~ts did not answer within ~ts ms and was given up; look for what it waits for",
         [app(Details), value(Timeout)]);
of_the_call(Kind, Details) ->
    bc_gitops_hot_error:format_error({Kind, Details}).

app(#{app := App}) -> value(App);
app(_Details) -> <<"the application">>.

because(#{reason := Reason}) -> [" (", reason(Reason), ")"];
because(#{class := _} = Details) -> [" (", raised(Details), ")"];
because(#{kind := timeout, timeout := Timeout}) -> [" (no answer within ", value(Timeout), " ms)"];
because(#{kind := Kind}) -> [" (", reason(Kind), ")"];
because(_Details) -> "".

raised(#{reason := Reason, stacktrace := [{M, F, A, _} | _]}) -> reason({Reason, [{M, F, A, []}]});
raised(#{reason := Reason}) -> reason(Reason);
raised(#{kind := Kind, stacktrace := [{M, F, A} | _]}) -> reason({Kind, [{M, F, A, []}]});
raised(Details) -> reason(maps:get(kind, Details, maps:get(class, Details, unknown))).

processes(#{processes := Processes}) when is_list(Processes) ->
    names([process(Process) || Process <- Processes]);
processes(_Details) ->
    "unknown".

process({Pid, [{registered_name, Name} | _]}) when is_atom(Name) -> text("~ts, ~p", [Name, Pid]);
process({Pid, _Info}) -> text("~p", [Pid]);
process(Other) -> Other.

protected(otp) -> "is part of OTP or Elixir";
protected(started_by_host) -> "was started by the host";
protected(needed_by_bc_gitops) -> "is bc_gitops itself, or needed by it";
protected(Why) -> ["is protected: ", value(Why)].

users(#{used_by := host}) -> ", the host's";
users(#{used_by := Apps}) when is_list(Apps) -> [", used by ", names(Apps)];
users(_Details) -> "".
