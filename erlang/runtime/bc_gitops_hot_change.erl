%%% @doc What is to become of a running application, from files alone: those that were built anew in
%%% the place of the old ones, or those of another version. `bc_gitops_hot_upgrade' does it.
%%%
%%% A handwritten appup for exactly these versions says how; else Rust says the steps.
-module(bc_gitops_hot_change).

-export([built_anew/1, another_version/3]).

-type failure() :: {error, {Kind :: atom(), map()}}.

%% @doc Takes over the modules whose files differ from what is loaded, and those that the .app file
%% names for the first time; answers which.
-spec built_anew(atom()) -> {ok, [module()]} | failure().
built_anew(App) ->
    case bc_gitops_hot_files:app_modules(App) of
        {ok, Modules} ->
            {Ebin, Named} = case bc_gitops_hot_files:first(App) of
                {ok, Dir, Description} -> {Dir, modules(Description)};
                none -> {none, []}
            end,
            Added = [M || M <- Named -- Modules, not erlang:module_loaded(M)],
            Files = fun(Some) -> bc_gitops_hot_files:files(Some, Ebin) end,
            change(#{app => App, known => Files(loaded(Modules)), added => Files(Added), gone => [],
                     appup => none, more => #{}});
        {error, _} = Error ->
            Error
    end.

%% @doc Replaces the version that runs, its .app file and its environment with it.
-spec another_version(atom(), Old :: string(), New :: string()) -> ok | failure().
another_version(App, Old, New) ->
    case {application:get_key(App, vsn), bc_gitops_hot_files:version(App, New)} of
        {undefined, _} ->
            {error, {app_not_loaded, #{app => App}}};
        {{ok, Old}, {ok, Ebin, Description}} ->
            Former = bc_gitops_hot_files:version(App, Old),
            upgrade(App, Description, Ebin, Former, appup(App, {Old, Former}, {New, Ebin}));
        {{ok, Old}, {error, _} = Error} ->
            Error;
        {{ok, Other}, _} ->
            {error, {other_version_runs, #{app => App, asked => Old, running => Other}}}
    end.

upgrade(App, Description, Ebin, Former, {ok, Appup}) ->
    {ok, Modules} = application:get_key(App, modules),
    Named = modules(Description),
    Known = loaded(Named),
    From = case Former of
        {ok, _, Before} -> Before;
        {error, _} -> none
    end,
    Change = #{
        app => App, known => beside(Known, Ebin),
        added => beside(Named -- (Known ++ Modules), Ebin),
        gone => loaded(Modules -- Named), appup => Appup, ebin => Ebin,
        more => #{apps => [bc_gitops_hot_app:another(App, From, Description)],
                  paths => paths(App, Ebin)}
    },
    case change(Change) of
        {ok, _} -> ok;
        {error, _} = Error -> Error
    end;
upgrade(_App, _Description, _Ebin, _Former, {error, _} = Error) ->
    Error.

modules(Description) -> bc_gitops_app_file:value(modules, Description, []).

loaded(Modules) -> [M || M <- Modules, erlang:module_loaded(M)].

beside(Modules, Ebin) ->
    [{M, filename:join(Ebin, atom_to_list(M) ++ ".beam")} || M <- Modules].

paths(App, Ebin) ->
    case bc_gitops_hot_files:first(App) of
        {ok, First, _} when First =/= Ebin -> [{First, Ebin}];
        _ -> []
    end.

%% Where the old files are gone the new ones may still say how to get here.
appup(App, {Old, Former}, {New, Ebin}) ->
    OldEbin = case Former of
        {ok, Dir, _} -> Dir;
        {error, _} -> Ebin
    end,
    case bc_gitops_hot_appup:find(App, build(OldEbin, Old), build(Ebin, New)) of
        none -> {ok, none};
        {ok, #{instructions := Instructions, direction := Direction}} ->
            case bc_gitops_hot_appup:steps(Instructions) of
                {ok, Steps} -> {ok, {Steps, Direction}};
                {error, Message} -> refused(App, Message)
            end;
        {error, Message} -> refused(App, Message)
    end.

build(Ebin, Version) ->
    #{path => unicode:characters_to_binary(filename:dirname(Ebin)),
      version => unicode:characters_to_binary(Version)}.

refused(App, Message) ->
    {error, {appup_refused, #{app => App, message => Message}}}.

%%% From files to an upgrade

change(Change) ->
    steps(Change, [fun compare/1, fun read/1, fun compute/1, fun choose/1, fun run/1]).

steps(Done, []) ->
    {ok, Done};
steps(Change, [Step | Rest]) ->
    case Step(Change) of
        {ok, Next} -> steps(Next, Rest);
        {error, _} = Error -> Error
    end.

compare(#{known := Known} = Change) ->
    case bc_gitops_hot_files:digests(Known) of
        {ok, Digests} ->
            Changed = [{M, File} || {M, File, MD5} <- Digests,
                                    bc_gitops_hot_files:is_changed(M, File, MD5)],
            {ok, Change#{changed => Changed}};
        {error, _} = Error ->
            Error
    end.

read(#{changed := Changed, added := Added} = Change) ->
    case bc_gitops_hot_code:objects(Changed ++ Added) of
        {ok, New} -> {ok, Change#{new => New}};
        {error, _} = Error -> Error
    end.

compute(#{new := New, added := Added, gone := Gone} = Change) ->
    Coming = [{unicode:characters_to_binary(File), Code, not lists:keymember(M, 1, Added)}
              || {M, {File, Code}} <- maps:to_list(New)],
    Names = maps:from_list([{atom_to_binary(M), M} || M <- maps:keys(New) ++ Gone]),
    case bc_gitops_native:hot_steps(Coming, [atom_to_binary(M) || M <- Gone]) of
        {ok, Steps} ->
            {ok, Change#{steps => [setelement(2, S, map_get(element(2, S), Names)) || S <- Steps]}};
        {error, _} = Error ->
            Error
    end.

%% An appup has to speak of all that changed, and may speak of more.
choose(#{appup := none} = Change) ->
    {ok, Change};
choose(#{app := App, appup := {Steps, Direction}, steps := Computed, new := New} = Change) ->
    #{more := More, ebin := Ebin} = Change,
    Said = [M || Step <- Steps, {_, M} <- [what(Step)]],
    case [M || Step <- Computed, {_, M} <- [what(Step)], not lists:member(M, Said)] of
        [] ->
            Others = [M || Step <- Steps, {load, M} <- [what(Step)], not is_map_key(M, New)],
            case bc_gitops_hot_code:objects(beside(Others, Ebin)) of
                {ok, Read} ->
                    {ok, Change#{steps := Steps, new := maps:merge(New, Read),
                                 more := More#{direction => Direction}}};
                {error, _} = Error ->
                    Error
            end;
        Missing ->
            refused(App, unmentioned(App, Missing))
    end.

unmentioned(App, Modules) ->
    bc_gitops_words:text("the appup of ~ts does not mention what changed (~ts); add it, or take the "
                         "appup away", [App, bc_gitops_words:names(Modules)]).

what({apply, _}) -> apply;
what({delete_module, Module}) -> {delete, Module};
what(Step) -> {load, element(2, Step)}.

run(#{steps := [], more := More}) when not is_map_key(apps, More) ->
    {ok, []};
run(#{app := App, steps := Steps, new := New, gone := Gone, more := More}) ->
    Old = bc_gitops_hot_files:former(App, loaded(maps:keys(New) ++ Gone)),
    Upgrade = More#{app => App, steps => Steps, old => Old, new => New},
    case bc_gitops_hot_upgrade:run(Upgrade) of
        {ok, _Report} ->
            ok = bc_gitops_runtime_events:loaded(App, maps:keys(New)),
            ok = bc_gitops_runtime_events:purged(App, Gone),
            {ok, maps:keys(New)};
        {_NotDone, Reason} ->
            {error, Reason}
    end.
