%%% @doc The applications in a tree of libraries as they stand on disk: what their `.app' files say,
%%% checked against their beams.
-module(bc_gitops_build_app).

-export([is_name/1, app_names/1, read/2, libs/3, in_order/1, closure/2]).

-export_type([app/0, lib/0]).

-type app() :: #{
    name := atom(),
    version := binary(),
    dir := file:filename(),
    modules := [module()],
    needs := [atom()],          % applications, included and optional ones
    requires := [atom()]        % the same without the optional ones
}.
-type lib() :: #{
    name := atom(),
    version := binary(),
    path := binary(),
    modules := #{module() => binary()},   % MD5 of the code, as `module_info(md5)' has it
    consolidated => binary()              % where mix put the consolidated protocols
}.

%% An .app file names the modules of one application: these are generous.
-define(MAX_APP_FILE, 1024 * 1024).
-define(MAX_MODULES, 10000).
%% Names of applications and modules become atoms, which are never freed.
-define(ATOM_SHARE, 0.8).
%% What one atom takes of a file at least, with its comma; half of it, since another build may be read
%% at the same time.
-define(BYTES_PER_ATOM, 2).

%% @doc Whether a text is the name of an application, fit to be a directory's name.
-spec is_name(binary() | string()) -> boolean().
is_name(Name) ->
    re:run(Name, "\\A[a-z][a-zA-Z0-9_@]{0,99}\\z", [{capture, none}]) =:= match.

%% @doc The names of the applications that have an `.app' file in Dir/ebin.
-spec app_names(file:filename()) -> [string()].
app_names(Dir) ->
    [filename:basename(File, ".app") || File <- filelib:wildcard("ebin/*.app", Dir)].

%% @doc Reads Dir/ebin/Name.app.
-spec read(file:filename(), string()) -> {ok, app()} | {error, {atom(), map()}}.
read(Dir, Name) ->
    File = filename:join([Dir, "ebin", Name ++ ".app"]),
    Size = filelib:file_size(File),
    case {Size =< ?MAX_APP_FILE, has_room(Size div ?BYTES_PER_ATOM)} of
        {true, true} -> parse(file:consult(File), Dir, Name, File);
        {false, _} -> invalid(File, "larger than any .app file");
        {_, false} -> {error, {too_many_atoms, #{file => path(File)}}}
    end.

%% A full table of atoms ends the VM.
has_room(Atoms) ->
    erlang:system_info(atom_count) + Atoms < ?ATOM_SHARE * erlang:system_info(atom_limit).

parse({ok, [{application, App, Properties}]}, Dir, Name, File) when is_atom(App) ->
    Fields = case is_list_to_its_end(Properties) of
        true -> fields(Properties);
        false -> {error, properties}
    end,
    case {atom_to_list(App), Fields} of
        {Name, {ok, Read}} -> {ok, Read#{name => App, dir => Dir}};
        {Name, {error, Field}} -> invalid(File, io_lib:format("its ~s cannot be read", [Field]));
        {Other, _} -> invalid(File, io_lib:format("it names the application ~s", [Other]))
    end;
parse({ok, _}, _Dir, _Name, File) ->
    invalid(File, "expected one {application, Name, Properties}");
parse({error, Reason}, _Dir, _Name, File) ->
    invalid(File, file:format_error(Reason)).

invalid(File, Message) ->
    Text = unicode:characters_to_binary(Message),
    {error, {invalid_app_file, #{file => path(File), message => Text}}}.

fields(Properties) ->
    Version = proplists:get_value(vsn, Properties),
    Modules = proplists:get_value(modules, Properties, []),
    [Applications, Included, Optional] = [proplists:get_value(Key, Properties, []) || Key <-
        [applications, included_applications, optional_applications]],
    Checks = [{vsn, io_lib:printable_unicode_list(Version)}
              | [{Key, is_atoms(Value)} || {Key, Value} <-
                 [{modules, Modules}, {applications, Applications},
                  {included_applications, Included}, {optional_applications, Optional}]]],
    case [Field || {Field, false} <- Checks] of
        [] ->
            Needs = lists:usort(Applications ++ Included ++ Optional),
            {ok, #{version => unicode:characters_to_binary(Version), modules => Modules,
                   needs => Needs, requires => Needs -- Optional}};
        [Field | _] ->
            {error, Field}
    end.

is_atoms([Atom | Rest]) when is_atom(Atom) -> is_atoms(Rest);
is_atoms(Rest) -> Rest =:= [].

%% A term of a file may be a list without a proper end.
is_list_to_its_end([_ | Rest]) -> is_list_to_its_end(Rest);
is_list_to_its_end(Rest) -> Rest =:= [].

%% @doc The applications with their modules and MD5s. Every module of an `.app' file must have its
%% beam, and every beam must be named after its module. Their paths begin with To instead of From.
-spec libs([app()], file:filename(), file:filename()) -> {ok, [lib()]} | {error, {atom(), map()}}.
libs(Apps, From, To) ->
    each(Apps, fun(App) -> lib(App, From, To) end, []).

each([], _Fun, Done) -> {ok, lists:reverse(Done)};
each([App | Rest], Fun, Done) ->
    case Fun(App) of
        {ok, Lib} -> each(Rest, Fun, [Lib | Done]);
        {error, _} = Error -> Error
    end.

lib(#{name := Name, dir := Dir} = App, From, To) ->
    case modules(App) of
        {ok, Modules} ->
            Path = filename:join(To, string:prefix(path(Dir), <<(path(From))/binary, "/">>)),
            Lib = #{name => Name, version => maps:get(version, App), path => path(Path),
                    modules => Modules},
            {ok, case filelib:is_dir(filename:join(Dir, "consolidated")) of
                true -> Lib#{consolidated => path(filename:join(Path, "consolidated"))};
                false -> Lib
            end};
        {error, _} = Error ->
            Error
    end.

modules(#{name := Name, dir := Dir, modules := Listed}) ->
    case bc_gitops_native:beam_scan([path(filename:join(Dir, "ebin"))]) of
        {ok, Beams} when length(Beams) > ?MAX_MODULES ->
            {error, {too_many_modules, #{app => Name, limit => ?MAX_MODULES}}};
        {ok, Beams} ->
            Misnamed = [path(filename:basename(Path)) || {Module, Path, _} <- Beams,
                        filename:basename(Path, ".beam") =/= Module],
            Modules = maps:from_list([{binary_to_atom(Module), MD5} || {Module, _, MD5} <- Beams]),
            checked(Name, Misnamed, [M || M <- Listed, not is_map_key(M, Modules)], Modules);
        {error, {Kind, Details}} ->
            {error, {invalid_beam, #{app => Name, kind => Kind, details => Details}}}
    end.

checked(_Name, [], [], Modules) -> {ok, Modules};
checked(Name, [], Missing, _) -> {error, {modules_missing, #{app => Name, modules => Missing}}};
checked(Name, Misnamed, _, _) -> {error, {beam_misnamed, #{app => Name, files => Misnamed}}}.

%% @doc Dependencies first. In a cycle the order is that of names.
-spec in_order([app()]) -> [app()].
in_order(Apps) ->
    ByName = maps:from_list([{Name, App} || #{name := Name} = App <- Apps]),
    Names = lists:sort(maps:keys(ByName)),
    {Ordered, _} = lists:foldl(fun(Name, Seen) -> visit(Name, ByName, Seen) end, {[], #{}}, Names),
    lists:reverse(Ordered).

visit(Name, ByName, {Ordered, Seen}) when is_map_key(Name, ByName), not is_map_key(Name, Seen) ->
    #{Name := #{needs := Needs} = App} = ByName,
    Below = lists:foldl(fun(Need, Acc) -> visit(Need, ByName, Acc) end,
                        {Ordered, Seen#{Name => true}}, Needs),
    {Before, SeenNow} = Below,
    {[App | Before], SeenNow};
visit(_Name, _ByName, Acc) ->
    Acc.

%% @doc The names that Start needs, itself included, as far as they are among the applications.
-spec closure([atom()], [app()]) -> [atom()].
closure(Start, Apps) ->
    Needs = maps:from_list([{Name, N} || #{name := Name, needs := N} <- Apps]),
    closure(Start, Needs, #{}).

closure([], _Needs, Seen) -> maps:keys(Seen);
closure([Name | Rest], Needs, Seen) when is_map_key(Name, Needs), not is_map_key(Name, Seen) ->
    closure(maps:get(Name, Needs) ++ Rest, Needs, Seen#{Name => true});
closure([_ | Rest], Needs, Seen) ->
    closure(Rest, Needs, Seen).

path(Path) -> unicode:characters_to_binary(Path).
