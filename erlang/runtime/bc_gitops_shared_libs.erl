%%% @doc Decides what becomes of each library of a build: the host has it, another application
%%% brought it already, it is new, it replaces an older one, or it conflicts. Decides only; changes
%%% nothing.
%%%
%%% An application that is managed itself is as its own spec says, whatever others bring of it: so
%%% the applications of an umbrella can be upgraded, and a dependency that two applications share
%%% can be, once it has a spec of its own. Those that need it are not restarted.
-module(bc_gitops_shared_libs).

-export([plan/3, release/3, claim/2]).

-export_type([plan/0]).

-type lib() :: bc_gitops_code:lib().
-type table() :: #{atom() => bc_gitops_runtime_table:lib()}.
-type plan() :: #{
    host := [lib()],      % the host has the same content
    keep := [lib()],      % on the code path already with the same content
    add := [lib()],       % new: comes before the application is stopped
    old := [lib()],       % goes when the application is stopped, the application itself among them
    new := [lib()],       % comes in their place, the application last
    stale := [lib()],     % was coming when an earlier switch was interrupted: goes with the old
    drop := [lib()]       % not needed any more: those of old that nothing takes the place of
}.

%% @doc What a build of App means for what is on the code path. Libs are the build's, in dependency
%% order.
-spec plan(atom(), [lib()], table()) -> {ok, plan()} | {error, {Kind :: atom(), map()}}.
plan(App, Libs, Table) ->
    Empty = #{host => [], keep => [], add => [], old => [], new => [], stale => [], drop => []},
    case place_all(App, Libs, Table, Empty) of
        {ok, Plan} ->
            Names = [Name || #{name := Name} <- Libs],
            Dropped = [Lib || {Name, #{owners := [Owner], lib := Lib}} <- maps:to_list(Table),
                              Owner =:= App, not lists:member(Name, Names)],
            #{old := Old} = Ordered = maps:map(fun(_, Placed) -> lists:reverse(Placed) end, Plan),
            {ok, Ordered#{old := bc_gitops_side:stop_order(Dropped) ++ Old, drop := Dropped}};
        {error, _} = Error ->
            Error
    end.

place_all(_App, [], _Table, Plan) ->
    {ok, Plan};
place_all(App, [Lib | Rest], Table, Plan) ->
    case place(App, Lib, Table) of
        {error, _} = Error -> Error;
        Places -> place_all(App, Rest, Table, lists:foldl(fun put_in/2, Plan, Places))
    end.

put_in({Place, Lib}, Plan) ->
    maps:update_with(Place, fun(Placed) -> [Lib | Placed] end, Plan).

place(App, #{name := Name} = Lib, Table) ->
    case Table of
        #{Name := #{lib := Held, owners := Owners} = Entry} ->
            case is_switching(Entry) of
                true ->
                    {error, {dependency_busy, #{app => App, dependency => Name,
                                                process => maps:get(switching, Entry)}}};
                false ->
                    with_stale(Entry, place_held(App, Lib, Held, Owners))
            end;
        _ when Name =:= App ->
            [{new, Lib}];
        _ ->
            place_new(App, Lib)
    end.

is_switching(#{switching := none}) -> false;
is_switching(#{switching := Pid}) -> Pid =/= self() andalso is_process_alive(Pid).

with_stale(#{next := Next}, Places) when is_list(Places), Next =/= none -> [{stale, Next} | Places];
with_stale(_Entry, Places) -> Places.

place_held(App, #{name := App} = Lib, Held, [App]) ->
    [{old, Held}, {new, Lib}];
place_held(App, #{name := Name} = Lib, Held, Owners) ->
    case {same(Lib, Held), Owners} of
        {true, _} -> [{keep, Held}];
        {false, [App]} -> [{old, Held}, {new, Lib}];
        {false, _} when Name =:= App -> [{old, Held}, {new, Lib}];
        {false, _} ->
            case lists:member(Name, Owners) of
                true -> [{keep, Held}];
                false -> conflict(App, Lib, Held, #{used_by => Owners -- [App]})
            end
    end.

place_new(App, #{name := Name, modules := Modules} = Lib) ->
    case bc_gitops_host:application(Name) of
        not_found ->
            [{add, Lib}];
        {ok, #{path := Path} = Host} ->
            Named = [{atom_to_binary(Module), MD5} || {Module, MD5} <- maps:to_list(Modules)],
            Wanted = maps:from_list(Named),
            case bc_gitops_host:content(Path) of
                {ok, Wanted} -> [{host, Lib#{path := Path}}];
                _ -> conflict(App, Lib, Host, #{used_by => host})
            end
    end.

same(#{version := Version, modules := Modules}, #{version := Version, modules := Modules}) -> true;
same(_, _) -> false.

conflict(App, #{name := Name, version := Wanted}, #{version := Present, path := Path}, Details) ->
    {error, {dependency_conflict, Details#{
        app => App,
        dependency => Name,
        wanted => Wanted,
        present => Present,
        path => Path,
        hint => <<"the two cannot share one VM: give the application isolation vm, or bring both "
                  "to the same version">>
    }}}.

%% @doc The changes of the table with which App holds the libraries of its plan while it switches.
-spec claim(atom(), plan()) -> fun((table()) -> table()).
claim(App, #{keep := Keep, add := Add, new := New, drop := Drop}) ->
    fun(Table) ->
        Going = [{Name, (maps:get(Name, Table))#{switching := self()}} || #{name := Name} <- Drop],
        Held = [{Name, hold(App, Name, Lib, none, Table)} || #{name := Name} = Lib <- Keep ++ Add],
        Switching = [{Name, hold(App, Name, Lib, self(), Table)} || #{name := Name} = Lib <- New],
        maps:from_list(Going ++ Held ++ Switching)
    end.

hold(App, Name, Lib, Switching, Table) ->
    case Table of
        #{Name := #{owners := Owners} = Held} ->
            Held#{owners := lists:usort([App | Owners]), switching := Switching,
                  next := next(Switching, Lib)};
        _ ->
            #{lib => Lib, owners => [App], switching => Switching, next => next(Switching, Lib)}
    end.

next(none, _Lib) -> none;
next(_Pid, Lib) -> Lib.

%% @doc `{Changes, Unused}': the changes of the table when App lets go of the libraries, and those
%% that nobody holds then. Unused ones stay in the table, marked, until they are gone.
-spec release(atom(), [lib()], table()) -> {table(), [lib()]}.
release(App, Libs, Table) ->
    lists:foldl(
        fun(#{name := Name}, {Changes, Unused}) ->
            case Table of
                #{Name := #{owners := [App], lib := Held} = Entry} ->
                    {Changes#{Name => Entry#{switching := self()}}, [Held | Unused]};
                #{Name := #{owners := Owners} = Entry} ->
                    Left = unclaimed(Entry),
                    {Changes#{Name => Left#{owners := lists:delete(App, Owners)}}, Unused};
                _ ->
                    {Changes, Unused}
            end
        end,
        {#{}, []},
        Libs
    ).

%% What others hold and this process was about to replace is as it was.
unclaimed(#{switching := Pid} = Entry) when Pid =:= self() ->
    Entry#{switching := none, next := none};
unclaimed(Entry) ->
    Entry.
