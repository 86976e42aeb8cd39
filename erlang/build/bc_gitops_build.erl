%%% @doc One build from source to store: fetch, detect, build, collect, verify, store. Runs in the
%%% calling process; what it starts ends with it.
-module(bc_gitops_build).

-include("bc_gitops.hrl").

-export([run/1, stored/4, built_before/4]).

-export_type([job/0]).

-type job() :: #{
    name := atom(),
    source := #source_spec{},
    known := bc_gitops_source:known(),
    version := binary() | undefined,
    options := #{timeout := pos_integer(), _ => _},
    workspace := binary(),
    scratch := binary(),
    log := bc_gitops_build_log:log()
}.

%% @doc Builds and stores, or finds in the store what turns out to be there already.
-spec run(job()) -> {ok, bc_gitops_store:build()} | {error, {atom(), map()}}.
run(#{name := Name, scratch := Scratch, options := #{timeout := Timeout}, log := Log} = Job) ->
    Started = erlang:monotonic_time(millisecond),
    %% Beside its home, whatever the application's name is.
    Dir = filename:join([unicode:characters_to_list(Scratch), "src", atom_to_list(Name)]),
    Ended = steps([fun fetch/1, fun detect/1, fun toolchain/1, fun build_or_find/1],
                  Job#{dir => Dir, until => Started + Timeout}),
    Result = bc_gitops_disk:explained(Ended, Scratch),
    Duration = erlang:monotonic_time(millisecond) - Started,
    bc_gitops_build_log:write(Log, closing_line(Result, Duration)),
    report(Name, Result, Duration),
    Result.

steps([Last], Job) ->
    Last(Job);
steps([Step | Rest], Job) ->
    case Step(Job) of
        {ok, Next} -> steps(Rest, Next);
        {error, _} = Error -> Error
    end.

report(Name, {ok, #{version := Version, revision := Revision, tool := Tool}}, Duration) ->
    logger:notice("bc_gitops: ~s ~ts built from ~ts with ~s in ~b ms",
                  [Name, Version, Revision, Tool, Duration]);
report(Name, {error, Reason}, Duration) ->
    %% whoever asked for the build says so
    logger:debug("bc_gitops: ~s was not built (~b ms): ~ts",
                 [Name, Duration, bc_gitops_build_error:format_error(Reason)]).

closing_line({ok, #{key := Key}}, Duration) ->
    io_lib:format("== ready after ~b ms: ~s~n", [Duration, Key]);
closing_line({error, {Kind, _}}, Duration) ->
    io_lib:format("== failed after ~b ms: ~s~n", [Duration, Kind]).

fetch(#{name := Name, source := Source, known := Known, dir := Dir, options := Options} = Job) ->
    ok = bc_gitops_build_progress:stage(Name, fetch),
    write(Job, "== fetching ~ts~n", [wanted(Known, Source)]),
    #{workspace := Workspace} = Job,
    Timed = Options#{timeout => left(Job), content => filename:join(Workspace, <<"content">>),
                     unfinished => filename:join(Workspace, <<"unfinished">>),
                     mirrors => bc_gitops_git_mirror:of_sources(Workspace)},
    case bc_gitops_source:fetch(Name, Source, Known, unicode:characters_to_binary(Dir), Timed) of
        {ok, Fetched} ->
            vouched(Job, Fetched),
            lists:foreach(fun(Note) -> write(Job, "== ~ts~n", [Note]) end, maps:get(notes, Fetched, [])),
            %% A committed output directory is not output of this build.
            Top = unicode:characters_to_list(maps:get(dir, Fetched, Dir)),
            ok = bc_gitops_tree:remove(filename:join(Top, "_build")),
            Told = maps:with([revision, tool, lock, deps, verified], Fetched),
            {ok, maps:merge(Job#{dir := Top}, Told)};
        {error, _} = Error ->
            Error
    end.

vouched(Job, #{verified := Who}) -> write(Job, "== content verified by ~s~n", [Who]);
vouched(_Job, _Fetched) -> ok.

wanted({ok, #{revision := Revision}}, _Source) -> Revision;
wanted(unknown, #source_spec{ref = Ref}) when is_binary(Ref) -> Ref;
wanted(unknown, #source_spec{url = Url}) -> hd(binary:split(bc_gitops_config:public_url(Url), <<"?">>)).

detect(#{tool := Tool} = Job) ->
    {ok, Job#{tool => bc_gitops_build_tool:module(Tool)}};
detect(#{dir := Dir, name := Name} = Job) ->
    case bc_gitops_build_tool:detect(Dir) of
        {ok, Tool} -> {ok, Job#{tool => Tool}};
        {error, unknown} ->
            {error, {unknown_project, #{app => Name, message =>
                <<"the repository has no rebar.config, src/*.app.src, mix.exs or Makefile with "
                  "erlang.mk">>}}}
    end.

toolchain(#{tool := Tool, dir := Dir, workspace := Workspace} = Job) ->
    Environment = bc_gitops_build_command:trusted_environment(Workspace),
    case bc_gitops_toolchain:identity(Tool, Dir, Environment) of
        {ok, Identity} ->
            case bc_gitops_toolchain:loadable(Identity) of
                ok -> {ok, Job#{toolchain => maps:get(text, Identity)}};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

build_or_find(#{name := Name, workspace := Workspace, version := Version} = Job) ->
    case stored(Workspace, Name, maps:get(revision, Job), Version) of
        {ok, Build} -> {ok, Build};
        {error, _} -> build(Job)
    end.

%% @doc A build of this revision by the tools that are here now; where its tool is missing, one that
%% this VM can run. One that is damaged is not taken.
-spec stored(Workspace, atom(), Revision, Version) ->
    {ok, bc_gitops_store:build()} | {error, not_found | {build_damaged, map()}}
    when Workspace :: binary(), Revision :: binary(), Version :: binary() | undefined.
stored(Workspace, Name, Revision, Version) ->
    usable(Workspace, bc_gitops_store:find(Workspace, Name, Revision), Version).

%% @doc The same of what this source last gave, whatever that was.
-spec built_before(Workspace, atom(), #source_spec{}, Version) ->
    {ok, bc_gitops_store:build()} | {error, not_found | {build_damaged, map()}}
    when Workspace :: binary(), Version :: binary() | undefined.
built_before(Workspace, Name, Source, Version) ->
    usable(Workspace, bc_gitops_store:built_from(Workspace, Name, Source), Version).

usable(Workspace, Builds, Version) ->
    first_whole(Workspace, [Build || #{version := V} = Build <- Builds,
                                     Version =:= undefined orelse V =:= Version,
                                     is_current(Workspace, Build)]).

first_whole(_Workspace, []) ->
    {error, not_found};
first_whole(Workspace, [#{key := Key} = Build | Rest]) ->
    case bc_gitops_store_check:check(Workspace, Build) of
        ok ->
            bc_gitops_store:touch(Workspace, Key),
            {ok, Build};
        {error, {build_damaged, _}} = Damaged ->
            case first_whole(Workspace, Rest) of
                {error, not_found} -> Damaged;
                Other -> Other
            end
    end.

is_current(Workspace, #{tool := Tool, arch := Arch, options := Options} = Build) ->
    Module = bc_gitops_build_tool:module(Tool),
    Fits = case bc_gitops_build_tool:is_prebuilt(Module) of
        true -> is_of_this_otp(Build);
        false -> is_of_these_tools(Workspace, Module, Build)
    end,
    Fits andalso Arch =:= bc_gitops_store:architecture()
        andalso Options =:= bc_gitops_store:options().

is_of_these_tools(Workspace, Module, #{toolchain := Toolchain} = Build) ->
    Environment = bc_gitops_build_command:trusted_environment(Workspace),
    case bc_gitops_toolchain:identity(Module, Environment) of
        {ok, #{text := Text}} -> Text =:= Toolchain;
        {error, _} -> is_of_this_otp(Build)
    end.

is_of_this_otp(#{otp := Otp}) ->
    Otp =:= list_to_binary(erlang:system_info(otp_release)).

build(Job) ->
    steps([fun compile/1, fun collect/1, fun fits/1, fun verify/1, fun store/1], Job).

compile(#{tool := Tool, name := Name, dir := Dir, scratch := Scratch} = Job) ->
    Caches = filename:join(unicode:characters_to_list(Scratch), "cache"),
    Context = (maps:with([deps], Job))#{app => Name, dir => Dir, caches => Caches},
    Environment = bc_gitops_build_command:environment(Scratch) ++ Tool:environment(Context),
    Phased = Job#{context => Context, env => Environment},
    case Tool:steps(Context) of
        [] -> {ok, Phased};
        Steps -> run_steps(Steps, Phased)
    end.

run_steps(Steps, #{tool := Tool, context := Context, env := Environment} = Job) ->
    case {bc_gitops_sandbox:choose(), bc_gitops_build_tool:ready(Tool, Context, Environment)} of
        {{ok, Sandbox}, ok} ->
            write(Job, "== ~ts~n", [bc_gitops_sandbox:describe(Sandbox)]),
            run_phases([deps, build], Steps, Job#{sandbox => Sandbox});
        {{error, _} = Error, _} ->
            Error;
        {_, {error, _} = Error} ->
            Error
    end.

run_phases([], _Steps, Job) ->
    {ok, Job};
run_phases([Phase | Rest], Steps, #{name := Name, tool := Tool} = Job) ->
    Metadata = #{app => Name, tool => Tool:name()},
    Mine = [Step || #{phase := P} = Step <- Steps, P =:= Phase],
    Run = fun() ->
        ok = bc_gitops_build_progress:stage(Name, Phase),
        run_phase(Phase, Mine, Job)
    end,
    Result = case Mine of
        [] -> ok;
        _ -> bc_gitops_span:run(Phase, Metadata, Run)
    end,
    case Result of
        ok -> run_phases(Rest, Steps, Job);
        {error, _} = Error -> Error
    end.

run_phase(deps, Steps, Job) -> bc_gitops_build_mirrors:run(Steps, Job);
run_phase(build, Steps, Job) -> run_commands(Steps, Job).

run_commands([], _Job) ->
    ok;
run_commands([Step | Rest], Job) ->
    case bc_gitops_build_command:run(Step, Job) of
        ok -> run_commands(Rest, Job);
        {error, _} = Error -> Error
    end.

collect(#{name := Name, scratch := Scratch, dir := Dir} = Job) ->
    ok = bc_gitops_build_progress:stage(Name, store),
    {ok, Real} = bc_gitops_tree:real_path(Scratch),
    Expected = Real ++ string:prefix(Dir, unicode:characters_to_list(Scratch)),
    case bc_gitops_tree:real_path(Dir) of
        {ok, Expected} -> collect_output(Job);
        %% the build put a link in the place of its own directory, or nothing
        {ok, Other} -> {error, {link_outside, #{app => Name, path => Dir, target => Other}}};
        {error, _} -> {error, {app_not_built, #{app => Name, found => []}}}
    end.

collect_output(#{tool := Tool, context := Context, scratch := Scratch} = Job) ->
    Out = filename:join(unicode:characters_to_list(Scratch), "out"),
    case bc_gitops_build_output:collect(Tool, Context, Out) of
        {ok, Apps} -> {ok, Job#{out => Out, apps => Apps}};
        {error, _} = Error -> Error
    end.

fits(#{apps := Apps} = Job) ->
    case bc_gitops_build_machine:check(Apps) of
        ok -> {ok, Job};
        {error, _} = Error -> Error
    end.

verify(#{name := Name, version := Wanted, apps := Apps, out := Out, workspace := Workspace,
         revision := Revision, toolchain := Toolchain} = Job) ->
    [Version] = [V || #{name := N, version := V} <- Apps, N =:= Name],
    Key = bc_gitops_store:key(Name, Revision, <<Toolchain/binary, 0, Version/binary>>),
    Target = unicode:characters_to_list(bc_gitops_store:path(Workspace, Key)),
    case Wanted =:= undefined orelse Wanted =:= Version of
        true ->
            Libs = bc_gitops_build_app:libs(Apps, Out, Target),
            with_libs(Libs, Job#{key => Key, built => Version});
        false ->
            {error, {version_mismatch, #{name => Name, spec => Wanted, app => Version}}}
    end.

with_libs({error, _} = Error, _Job) ->
    Error;
with_libs({ok, Libs}, #{apps := Apps, toolchain := Toolchain} = Job) ->
    case bc_gitops_build_elixir:libs(Apps, Toolchain, maps:with([workspace, scratch], Job)) of
        {ok, none} -> {ok, Job#{libs => Libs, needs => []}};
        {ok, {Key, Elixir}} -> {ok, Job#{libs => Elixir ++ Libs, needs => [Key]}};
        {error, _} = Error -> Error
    end.

store(#{name := Name, key := Key, libs := Libs, tool := Tool, out := Out} = Job) ->
    [Path] = [P || #{name := N, path := P} <- Libs, N =:= Name],
    Build = #{
        key => Key, app => Name,
        version => maps:get(built, Job), revision => maps:get(revision, Job),
        tool => Tool:name(), toolchain => maps:get(toolchain, Job),
        otp => list_to_binary(erlang:system_info(otp_release)),
        path => Path, libs => Libs, needs => maps:get(needs, Job),
        source => bc_gitops_store:source_id(maps:get(source, Job))
    },
    Whole = maps:merge(Build, maps:with([lock, verified], Job)),
    bc_gitops_store:publish(maps:get(workspace, Job), Out, Key, Whole).

left(#{until := Until}) ->
    max(1, Until - erlang:monotonic_time(millisecond)).

write(#{log := Log}, Format, Args) ->
    bc_gitops_build_log:write(Log, unicode:characters_to_binary(io_lib:format(Format, Args))).
